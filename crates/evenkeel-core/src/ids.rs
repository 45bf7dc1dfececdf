//! Names of channels and components.

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is no name: 1 to 63 of the characters a-z, 0-9, '_' and '-' are allowed, the first of them a letter or a digit"
)]
pub struct NameError {
    /// What was given.
    pub name: String,
}

/// Checks the name of a channel or a component: `[a-z0-9][a-z0-9_-]{0,62}`.
///
/// # Errors
/// [`NameError`], naming what is allowed.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = name.as_bytes();
    let fits = (1..=63).contains(&bytes.len())
        && plain(bytes[0])
        && bytes.iter().all(|c| plain(*c) || matches!(c, b'_' | b'-'));
    if fits { Ok(()) } else { Err(NameError { name: name.to_owned() }) }
}
