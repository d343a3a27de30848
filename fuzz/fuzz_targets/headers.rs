#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| cursus_api::fuzz::headers(input));
