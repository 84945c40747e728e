//! Runs what has to run. [`plan`] turns a checked pipeline into a graph; [`scheduler`] gives each
//! stage that can start a thread; [`execute`] does what [`decision`] says of it; [`event`] is what
//! observers are notified of. It knows stages as `dyn Stage` alone, and never prints.

pub mod decision;
pub mod event;
mod execute;
pub mod inspect;
pub mod key;
pub mod locked;
pub mod plan;
mod results;
mod scheduler;
mod sidecars;
pub mod transfer;
pub mod update;

pub use event::{Event, Observer, Summary};
pub use plan::{NodeId, Plan};
pub use scheduler::{Build, Fetch, Options, seconds};
