//! Bytes as the fixtures spell them: hexadecimal, blanks and `|` mean nothing, `#` begins a comment line.

/// The bytes of one line.
#[track_caller]
pub fn bytes(line: &str) -> Vec<u8> {
    let digits = line.split(|sign: char| sign.is_whitespace() || sign == '|').filter(|digits| !digits.is_empty());
    digits.map(|digits| u8::from_str_radix(digits, 16).expect("two hexadecimal digits")).collect()
}

/// Bytes as a line, for failures to be read.
pub fn line(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" ")
}

/// The lines of a fixture that are not comments.
pub fn lines(fixture: &str) -> impl Iterator<Item = &str> {
    fixture.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}
