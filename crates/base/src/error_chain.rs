//! An error as one line, with what caused it.

use std::error::Error;

use crate::printable;

/// An error and its causes as one line, whatever is in them: `a: b: c`.
pub fn chain(error: &dyn Error) -> String {
    printable::line(&with_causes(error)).into_owned()
}

/// The same with its line ends: of a list of our own. What may be a URL with a password in it is not repeated.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Transparent wrappers repeat their cause.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    printable::without_credentials(&text).into_owned()
}
