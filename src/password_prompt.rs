//! `bitsim passwd`: asks for a password and writes it, hashed, into the password file.
//!
//! On a terminal the password is asked for twice and not shown; otherwise it is the first line of standard input.
//! The file is replaced as a whole, so that a server that reloads meanwhile never sees half of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, isatty, tcgetattr, tcsetattr};

use crate::login::{Passwords, hash_password, upsert};

/// Longest password: the longest that CONNECT can carry.
const PASSWORD_BYTES_MAX: usize = 65_535;

/// Asks, hashes, writes.
///
/// # Errors
/// A sentence for the user.
pub fn change(file: &Path, user: &str) -> Result<(), String> {
    let old = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("cannot read {}: {error}", file.display())),
    };
    // A wrong name is said before a password is asked for.
    upsert(&old, user, "").map_err(str::to_owned)?;
    let password = ask().map_err(|error| format!("no password: {error}"))?;
    write(file, &old, user, &password)
}

fn write(file: &Path, old: &str, user: &str, password: &[u8]) -> Result<(), String> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(format!("a password must have 1 to {PASSWORD_BYTES_MAX} bytes"));
    }
    let hash = hash_password(password).map_err(|error| format!("no hash: {error}"))?;
    let new = upsert(old, user, &hash)?;
    Passwords::parse(&new, file).map_err(|error| format!("{error}; correct that line first"))?;
    replace(file, &new).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

/// Writes beside the file and renames, with the permissions the file has, or for its owner alone.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let mode = fs::metadata(file).map_or(0o600, |metadata| metadata.permissions().mode() & 0o777);
    let mut out = OpenOptions::new().write(true).create_new(true).mode(mode).open(&name)?;
    let written = out.write_all(text.as_bytes()).and_then(|()| out.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&name, file)) {
        // The half-written file is of no use to anybody.
        let _ = fs::remove_file(&name);
        return Err(error);
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn ask() -> io::Result<Vec<u8>> {
    let stdin = io::stdin();
    if !isatty(&stdin) {
        return line();
    }
    let shown = tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let asked = ask_twice();
    tcsetattr(&stdin, OptionalActions::Flush, &shown)?;
    asked
}

fn ask_twice() -> io::Result<Vec<u8>> {
    let mut terminal = io::stderr();
    write!(terminal, "Password: ")?;
    let first = line()?;
    write!(terminal, "\nOnce more: ")?;
    let second = line()?;
    writeln!(terminal)?;
    if first == second { Ok(first) } else { Err(io::Error::other("the two are not the same")) }
}

fn line() -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut line)?;
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_can_log_in_with_what_was_written() {
        let file = std::env::temp_dir().join(format!("bitsim-passwd-{}", std::process::id()));
        write(&file, "", "alice", b"one").expect("written");
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&file).expect("a file");
        write(&file, &text, "bob", b"two").expect("written");
        let text = fs::read_to_string(&file).expect("a file");
        write(&file, &text, "alice", b"three").expect("written");
        let passwords = Passwords::read(&file).expect("a good file");
        assert_eq!(passwords.len(), 2);
        assert!(passwords.verify("alice", b"three") && passwords.verify("bob", b"two"));
        assert!(!passwords.verify("alice", b"one"));
        assert!(write(&file, "bad line\n", "eve", b"x").is_err(), "a bad file is not written over");
        assert!(write(&file, &text, "eve", b"").is_err());
        assert_eq!(Passwords::read(&file).expect("a good file").len(), 2);
        fs::remove_file(&file).expect("removed");
    }
}
