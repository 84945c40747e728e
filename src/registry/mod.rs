//! Registries of container images: what names an image there ([`Reference`]), the credentials of Docker's
//! configuration, and the requests to push and pull ([`Client`]). It knows no stages.
//!
//! Source: OCI Distribution Specification 1.1; Docker's "Token Authentication Specification".

mod client;
mod credentials;
mod pull;
mod push;
mod reference;

pub use client::{Client, Transport};
pub use pull::{Pulled, pull};
pub use push::{Attachment, attach, push};
pub use reference::{Reference, ReferenceError};
