#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kuth_formats_fuzz::run("xz", data));
