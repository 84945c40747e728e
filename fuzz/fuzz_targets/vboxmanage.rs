#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kuth_fuzz::run("vboxmanage", data));
