//! What goes into the programs, and whether it came out again.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

pub(super) const LINE_BYTES: u64 = 110;

/// Lines as a service writes them, the same in every run.
pub(super) fn write_input(path: &Path, line_count: u64) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for number in 0..line_count {
        out.write_all(&line(number))?;
    }
    out.flush()
}

fn line(number: u64) -> [u8; LINE_BYTES as usize] {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let text = format!("{number:020} level=info request={mixed:016x} status=200 ");
    let mut line = [b'.'; LINE_BYTES as usize];
    for (place, byte) in line.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    line[LINE_BYTES as usize - 1] = b'\n';
    line
}

/// What `evenkeel export` prints is the input, byte for byte.
///
/// # Errors
/// When it is not, or the export does not exit with 0.
pub(super) fn verify_export(evenkeel: &Path, recording: &Path, input: &Path) -> Result<(), String> {
    let mut export = Command::new(evenkeel);
    export.arg("export").arg(recording).args(["--channel", "x"]).stdout(Stdio::piped());
    let mut child = export.spawn().map_err(|error| format!("evenkeel export: {error}"))?;
    let same = match child.stdout.take() {
        Some(stdout) => File::open(input).and_then(|input| same_bytes(stdout, input)),
        None => Ok(false),
    };
    let status = child.wait().map_err(|error| format!("evenkeel export: {error}"))?;
    match same {
        Ok(true) if status.success() => Ok(()),
        Ok(false) => Err("what was recorded is not what was sent".to_owned()),
        Ok(true) => Err(format!("evenkeel export: {status}")),
        Err(error) => Err(format!("evenkeel export: {error}")),
    }
}

fn same_bytes(one: impl Read, other: impl Read) -> io::Result<bool> {
    let mut one = BufReader::with_capacity(1 << 20, one);
    let mut other = BufReader::with_capacity(1 << 20, other);
    let mut block = [0; 1 << 16];
    loop {
        let count = one.read(&mut block)?;
        if count == 0 {
            return Ok(other.read(&mut block)? == 0);
        }
        let mut expected = vec![0; count];
        match other.read_exact(&mut expected) {
            Ok(()) if expected == block[..count] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_differ() {
        assert!(line(1).ends_with(b".\n") && line(1) != line(2));
        assert_eq!(line(u64::MAX).iter().filter(|byte| **byte == b'\n').count(), 1);
    }

    #[test]
    fn any_difference_is_seen() {
        let long = vec![7; 200_000];
        let mut other = long.clone();
        other[150_000] = 8;
        assert!(same_bytes(&long[..], &long[..]).unwrap() && same_bytes(&[][..], &[][..]).unwrap());
        assert!(!same_bytes(&long[..], &other[..]).unwrap());
        assert!(!same_bytes(&long[1..], &long[..]).unwrap());
        assert!(!same_bytes(&long[..], &long[1..]).unwrap());
    }
}
