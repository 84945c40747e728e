//! Runs what has to run. [`plan`] turns a checked pipeline into a graph, [`worker`] walks it with
//! a thread for each stage at work, [`state`] says what state a stage is in, [`event`] is what it
//! tells whoever watches. It knows stages as `dyn Stage` alone, and never prints.

mod accompany;
mod attempt;
mod bring;
pub mod event;
pub mod inspect;
pub mod key;
pub mod locked;
pub mod plan;
mod results;
pub mod state;
pub mod transfer;
pub mod update;
pub mod worker;

pub use event::{Event, Observer, Summary};
pub use plan::{NodeId, Plan};
pub use worker::{Build, Fetch, Options};
