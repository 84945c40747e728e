//! What the sandbox promises, seen from outside: scripts of `customise` stages, run by the program as
//! root and as an ordinary user, try to get out of their tree, expect what a system has, and
//! leave things behind. Root is needed for the place that they are run in (see [`place`]), which is
//! such that nothing of this machine's /etc comes to harm where a promise is broken.

mod attempts;
mod container;
mod exchange;
mod host;
mod left;
mod names;
mod place;
mod resolver;
mod rooms;
