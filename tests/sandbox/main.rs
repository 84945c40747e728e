//! What the sandbox promises, seen from outside: scripts of `customise` stages, run by the program as
//! root and as an ordinary user, try to get out of their tree, expect what a system has, and
//! leave things behind. Root is needed for the place that they are run in (see [`place`]), which is
//! such that nothing of this machine's /etc comes to harm where a promise is broken.

mod attempts;
mod exchange;
mod host;
#[path = "../judge/mod.rs"]
mod judge;
#[path = "../acceptance/kuth.rs"]
#[allow(dead_code)]
mod kuth;
mod left;
mod names;
mod place;
#[path = "../acceptance/processes.rs"]
#[allow(dead_code)]
mod processes;
mod resolver;
mod rooms;
#[path = "../customise/tree.rs"]
#[allow(dead_code)]
mod tree;
#[path = "../customise/world.rs"]
#[allow(dead_code)]
mod world;
