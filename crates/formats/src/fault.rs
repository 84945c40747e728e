//! Why bytes are not what a format says, or why a value does not fit into one. It knows no
//! files: who read the bytes adds the name as context.

use std::{fmt, io};

/// A refusal by one format: `gpt: the header's CRC is wrong`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    format: &'static str,
    why: String,
}

impl Fault {
    /// `format` is the format's short name, `why` a clause that names the value.
    pub fn new(format: &'static str, why: impl Into<String>) -> Fault {
        Fault { format, why: why.into() }
    }

    /// The short name of the format that refuses.
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// `Ok` where `holds`, else the fault `why` makes.
    pub fn unless(
        holds: bool,
        format: &'static str,
        why: impl FnOnce() -> String,
    ) -> Result<(), Fault> {
        if holds { Ok(()) } else { Err(Fault::new(format, why())) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.format, self.why)
    }
}

impl std::error::Error for Fault {}

/// For the readers that work over `Read`: the fault is an `InvalidData`.
impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_its_format() {
        let fault = Fault::new("gpt", "the header's CRC is wrong");
        assert_eq!(fault.to_string(), "gpt: the header's CRC is wrong");
        assert_eq!(io::Error::from(fault).kind(), io::ErrorKind::InvalidData);
    }
}
