//! Another client of xenstored while a command runs: reads one node every millisecond, and reports how long it waits for
//! each answer:
//!
//!     neighbour SOCKET PATH RUNS COMMAND [ARGUMENT...]
//!
//! runs COMMAND that many times, one after another. Prints `READS MEAN HIGH MOST`: how many answers came, and the mean,
//! the 95th percentile and the longest time until one, in microseconds. Fails if a command fails.
//!
//! A single file for rustc, without crates: `tests/xen/bench` compiles it into a static program for dom0.

use std::env;
use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// `XS_READ` (xen/include/public/io/xs_wire.h).
const READ: u32 = 2;

/// The time from sending a READ of `path` to the last byte of its answer.
fn ask(store: &mut UnixStream, path: &str) -> Result<Duration, Box<dyn Error>> {
    let mut request: Vec<u8> =
        [READ, 1, 0, path.len() as u32 + 1].iter().flat_map(|word| word.to_ne_bytes()).collect();
    request.extend(path.bytes().chain([0]));
    let begun = Instant::now();
    store.write_all(&request)?;
    let mut header = [0; 16];
    store.read_exact(&mut header)?;
    let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
    let mut value = vec![0; word(12) as usize];
    store.read_exact(&mut value)?;
    if word(0) != READ {
        return Err(format!("{path}: {}", String::from_utf8_lossy(&value)).into());
    }
    Ok(begun.elapsed())
}

fn run() -> Result<String, Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [socket, path, runs, command @ ..] = words.as_slice() else {
        return Err("usage: neighbour SOCKET PATH RUNS COMMAND [ARGUMENT...]".into());
    };
    let mut store = UnixStream::connect(socket)?;
    let mut waits = Vec::new();
    for _ in 0..runs.parse::<u32>()? {
        let [program, arguments @ ..] = command else { return Err("nothing to run".into()) };
        let mut child = Command::new(program).args(arguments).stdout(Stdio::null()).spawn()?;
        let status = loop {
            waits.push(ask(&mut store, path)?.as_micros());
            if let Some(status) = child.try_wait()? {
                break status;
            }
            thread::sleep(Duration::from_millis(1));
        };
        if !status.success() {
            return Err(format!("{program}: {status}").into());
        }
    }
    waits.sort_unstable();
    let mean = waits.iter().sum::<u128>() / waits.len().max(1) as u128;
    let high = waits.get(waits.len() * 95 / 100).or(waits.last()).ok_or("no run")?;
    Ok(format!("{} {mean} {high} {}", waits.len(), waits.last().ok_or("no run")?))
}

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("neighbour: {error}");
            ExitCode::FAILURE
        }
    }
}
