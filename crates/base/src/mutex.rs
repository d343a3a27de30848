//! Locks of values that no panic leaves half changed.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks it; a panic of another holder does not matter to its value.
pub fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
