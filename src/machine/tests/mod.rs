//! Tests of machines: the contract that every driver keeps, and what is particular to each.

use super::*;

mod contract;
mod embedded;
mod memory;
mod virtualbox;
