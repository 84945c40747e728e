//! The report of a build: one HTML page that needs nothing but itself. [`contents`] collects what is
//! known of a build from its record and from the cache, [`page`] writes it down; [`graph`] and
//! [`disk_map`] are drawings, which commands print as well. Knows no pipeline and no engine.

pub mod contents;
pub mod disk_map;
pub mod graph;
pub mod page;
