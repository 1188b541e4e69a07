#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| external_ca_fuzz::certificate(data));
