//! Settings in cards and recipes that are left out where they are the default.

/// For settings that are left out of a card where they are the default.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The default of settings that multiply.
pub(crate) fn one() -> usize {
    1
}

// Serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
pub(crate) fn is_one(value: &usize) -> bool {
    *value == 1
}
