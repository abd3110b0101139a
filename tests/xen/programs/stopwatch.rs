//! Runs a command once, or many times at once, and prints the time and memory that it took:
//!
//!     stopwatch COUNT FIRST COMMAND [ARGUMENT...]
//!
//! starts COUNT of them together. A word `%` stands for the number FIRST in the first of them, FIRST + 1 in the second,
//! and so on. Their standard output is dropped. Prints `WALL CPU MEMORY`:
//!
//! * microseconds from before the first start until the last has ended
//! * microseconds of processor time of all, user and system
//! * KiB of the largest at its peak
//!
//! Prints nothing and fails if one of them fails.
//!
//! A single file for rustc, without crates: `tests/xen/bench` compiles it into a static program for dom0.

use std::env;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

/// `struct rusage` of Linux on 64 bits: getrusage(2).
#[repr(C)]
#[derive(Default)]
struct Usage {
    user: Time,
    system: Time,
    max_rss_kib: i64,
    others: [i64; 13],
}

#[repr(C)]
#[derive(Default)]
struct Time {
    seconds: i64,
    microseconds: i64,
}

impl Time {
    fn in_microseconds(&self) -> i64 {
        self.seconds * 1_000_000 + self.microseconds
    }
}

unsafe extern "C" {
    fn wait4(pid: i32, status: *mut i32, options: i32, usage: *mut Usage) -> i32;
}

fn start(command: &[String], number: u64) -> Result<Child, String> {
    let words: Vec<String> = command
        .iter()
        .map(|word| if word == "%" { number.to_string() } else { word.clone() })
        .collect();
    Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", words.join(" ")))
}

/// Waits for its end. `Child::wait` would not return its resource usage.
fn end(child: &Child) -> Result<Usage, String> {
    let mut status = 0;
    let mut usage = Usage::default();
    let pid = child.id() as i32;
    // SAFETY: both pointers lead to live variables of the types that wait4(2) fills.
    if unsafe { wait4(pid, &mut status, 0, &mut usage) } != pid {
        return Err(format!("wait4: {}", std::io::Error::last_os_error()));
    }
    if status != 0 {
        return Err(format!("a command failed: status {status:#x}"));
    }
    Ok(usage)
}

fn run() -> Result<String, String> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [count, first, command @ ..] = words.as_slice() else {
        return Err("usage: stopwatch COUNT FIRST COMMAND [ARGUMENT...]".to_owned());
    };
    let number = |word: &String| word.parse::<u64>().map_err(|error| format!("{word}: {error}"));
    let (count, first) = (number(count)?, number(first)?);
    if count == 0 || command.is_empty() {
        return Err("nothing to run".to_owned());
    }

    let begin = Instant::now();
    let children: Result<Vec<Child>, String> =
        (first..first + count).map(|number| start(command, number)).collect();
    let usages: Result<Vec<Usage>, String> = children?.iter().map(end).collect();
    let wall = begin.elapsed().as_micros();

    let usages = usages?;
    let cpu: i64 = usages
        .iter()
        .map(|usage| usage.user.in_microseconds() + usage.system.in_microseconds())
        .sum();
    let memory = usages.iter().map(|usage| usage.max_rss_kib).max().unwrap_or(0);
    Ok(format!("{wall} {cpu} {memory}"))
}

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("stopwatch: {error}");
            ExitCode::FAILURE
        }
    }
}
