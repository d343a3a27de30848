//! Every promise of the program, tested through its binary.
