#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| cursus::fuzz::proof(input));
