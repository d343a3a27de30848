//! The `cursus` command.

fn main() {}
