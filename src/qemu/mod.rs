//! QEMU, the tool: its arguments, what the host has for it, its control protocol, and the switch of
//! networks between its machines. What boots a disk once and what keeps machines use it alike.

pub mod argv;
pub mod host;
pub mod qmp;
pub mod switch;
