//! Runs a command and says which of its functions ran:
//!
//!     entries FILE COMMAND [ARGUMENT...]
//!
//! FILE has a line for each function: where it begins, in hexadecimal, counted from where the program begins. Prints
//! those that were entered, each once, in the order of their first entry, after `entered: `. It puts a breakpoint at
//! each function, and takes it away when it is met. x86-64 alone.
//!
//! A single file for rustc, without crates: `tests/xen/layout` compiles it into a static program for dom0.

use std::collections::HashMap;
use std::env;
use std::ffi::{CString, c_char, c_int, c_long};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::ptr;

/// `PTRACE_TRACEME` and so on: ptrace(2).
const TRACE_ME: c_int = 0;
const CONTINUE: c_int = 7;
const GET_REGISTERS: c_int = 12;
const SET_REGISTERS: c_int = 13;

const SIGTRAP: c_int = 5;

/// `int3`.
const BREAKPOINT: u8 = 0xcc;

/// `struct user_regs_struct` of Linux on x86-64, and where `rip` is in it: sys/user.h.
type Registers = [u64; 27];
const RIP: usize = 16;

unsafe extern "C" {
    fn fork() -> c_int;
    fn execv(path: *const c_char, arguments: *const *const c_char) -> c_int;
    fn ptrace(request: c_int, pid: c_int, address: *mut u8, data: *mut u8) -> c_long;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
}

struct Traced {
    pid: c_int,
    memory: File,
    base: u64,
}

impl Traced {
    /// Starts `command`; it stands still before its first instruction.
    fn start(command: &[String]) -> Result<Self, String> {
        let words: Vec<CString> = command
            .iter()
            .map(|word| CString::new(word.as_str()).map_err(|error| error.to_string()))
            .collect::<Result<_, _>>()?;
        let mut pointers: Vec<*const c_char> = words.iter().map(|word| word.as_ptr()).collect();
        pointers.push(ptr::null());
        // SAFETY: the child calls nothing but these three before it is another program; the pointers lead to live
        // strings, and a null ends them.
        let pid = unsafe {
            let pid = fork();
            if pid == 0 {
                ptrace(TRACE_ME, 0, ptr::null_mut(), ptr::null_mut());
                execv(pointers[0], pointers.as_ptr());
                _exit(127);
            }
            pid
        };
        if pid < 0 || wait(pid)? & 0xff != 0x7f {
            return Err(format!("{} does not start", command[0]));
        }
        let failed = |error: std::io::Error| error.to_string();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).map_err(failed)?;
        let first = maps.lines().find(|line| line.ends_with(&command[0]));
        let base = first
            .and_then(|line| u64::from_str_radix(line.split('-').next()?, 16).ok())
            .ok_or_else(|| format!("{} is not in its own memory", command[0]))?;
        let path = format!("/proc/{pid}/mem");
        let memory = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        Ok(Self { pid, memory, base })
    }

    /// Puts `byte` at `address`, and says what was there.
    fn put(&self, address: u64, byte: u8) -> Result<u8, String> {
        let mut there = [0];
        self.memory
            .read_exact_at(&mut there, address)
            .and_then(|()| self.memory.write_all_at(&[byte], address))
            .map_err(|error| format!("at {address:#x}: {error}"))?;
        Ok(there[0])
    }

    fn ask(&self, request: c_int, data: *mut u8) -> Result<(), String> {
        // SAFETY: `data` is null or a signal's number, or leads to live registers, as each request wants it.
        if unsafe { ptrace(request, self.pid, ptr::null_mut(), data) } < 0 {
            return Err(format!("ptrace {request}: {}", std::io::Error::last_os_error()));
        }
        Ok(())
    }
}

fn wait(pid: c_int) -> Result<c_int, String> {
    let mut status = 0;
    // SAFETY: it leads to a live variable.
    if unsafe { waitpid(pid, &mut status, 0) } != pid {
        return Err(format!("waitpid: {}", std::io::Error::last_os_error()));
    }
    Ok(status)
}

fn run() -> Result<Vec<u64>, String> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [file, command @ ..] = words.as_slice() else {
        return Err("usage: entries FILE COMMAND [ARGUMENT...]".to_owned());
    };
    let functions = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let traced = Traced::start(command)?;
    let mut there = HashMap::new();
    for function in functions.lines() {
        let offset = u64::from_str_radix(function, 16).map_err(|e| format!("{function}: {e}"))?;
        let address = traced.base + offset;
        there.insert(address, traced.put(address, BREAKPOINT)?);
    }
    let (mut entered, mut signal) = (Vec::new(), 0);
    loop {
        traced.ask(CONTINUE, signal as usize as *mut u8)?;
        let status = wait(traced.pid)?;
        if status & 0xff != 0x7f {
            return if status == 0 { Ok(entered) } else { Err(format!("its status: {status:#x}")) };
        }
        signal = (status >> 8) & 0xff;
        let mut registers: Registers = [0; 27];
        traced.ask(GET_REGISTERS, ptr::from_mut(&mut registers).cast())?;
        let address = registers[RIP] - 1;
        if signal == SIGTRAP
            && let Some(byte) = there.get(&address)
        {
            traced.put(address, *byte)?;
            registers[RIP] = address;
            traced.ask(SET_REGISTERS, ptr::from_mut(&mut registers).cast())?;
            entered.push(address - traced.base);
            signal = 0;
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(entered) => {
            for offset in entered {
                println!("entered: {offset:x}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("entries: {error}");
            ExitCode::FAILURE
        }
    }
}
