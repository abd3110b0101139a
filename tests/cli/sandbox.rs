//! A sim for one test, and runs of xmem on it.
//!
//! Every run is checked. It leaves no file in the state directory, changes nothing if it fails, prints no control
//! characters, and prints JSON that fits the schema. No run depends on the environment of the tests: it begins with
//! default signals, no variables and no input, and is killed after a deadline.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use snapbox::{IntoData, assert_data_eq};
use tempfile::TempDir;
use xen::escape::Escaped;
use xmem_sim::{Faults, SimHost, StartWorld};

use crate::schema;

/// The UUID of `web`. Those of the start world's guests end in their domid.
pub(crate) const WEB: &str = "00000000-0000-4000-8000-000000000007";

/// Much longer than any run takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_mins(2);

/// A sim in its own temporary directory.
#[derive(Debug)]
pub(crate) struct Sim(TempDir);

impl Sim {
    /// With the start world: dom0, `web` (7, PVH, 1 of 2 GiB), `db` (8, PV, 2 of 4 GiB) and
    /// `win` (9, HVM, 2 of 2 GiB with 16 MiB of video memory).
    pub(crate) fn new() -> Self {
        Self::with(StartWorld::Start)
    }

    /// With a domain in each state too.
    pub(crate) fn with_states() -> Self {
        Self::with(StartWorld::States)
    }

    fn with(world: StartWorld) -> Self {
        let dir = tempfile::tempdir().unwrap();
        SimHost::open_with(Some(dir.path()), world, Faults::default()).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Edits the world in one step, since another process may be reading it.
    pub(crate) fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut world = self.world();
        edit(&mut world);
        let new = self.path().join("world.json.new");
        fs::write(&new, world.to_string()).unwrap();
        fs::rename(new, self.path().join("world.json")).unwrap();
    }

    /// Sets the speed of `web`'s balloon.
    pub(crate) fn rate(&self, mib_per_second: u64) {
        self.edit(|world| {
            world["domains"]["7"]["rate_kib_per_second"] = (mib_per_second * 1024).into();
        });
    }

    pub(crate) fn world(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path().join("world.json")).unwrap()
    }

    /// Target, static-max and limit of a domain, in KiB.
    pub(crate) fn numbers(&self, domid: u16) -> (u64, u64, u64) {
        let world = self.world();
        let node = |name: &str| {
            let path = format!("/local/domain/{domid}/memory/{name}");
            world["xenstore"][path].as_str().unwrap().parse().unwrap()
        };
        let limit = world["domains"][domid.to_string()]["limit_kib"].as_u64().unwrap();
        (node("target"), node("static-max"), limit)
    }

    /// The files in the state directory: locks and intent records.
    pub(crate) fn state(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path().join("lib")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // Each domain always has libxl's own file.
        let mut names: Vec<String> = names.filter(|name| !name.ends_with(".libxl-json")).collect();
        names.sort();
        names
    }

    /// `web`'s lock file.
    pub(crate) fn lock(&self) -> PathBuf {
        self.path().join(format!("lib/userdata-l.7.{WEB}.domain-userdata-lock"))
    }

    /// `web`'s intent record.
    pub(crate) fn intent(&self) -> PathBuf {
        self.path().join(format!("lib/userdata-d.7.{WEB}.xmem-intent"))
    }

    /// A run of `xmem` with these words, split at blanks, on this sim.
    pub(crate) fn xmem(&self, words: &str) -> Call<'_> {
        xmem(words).env("XMEM_HOST", self.host()).within(self)
    }

    pub(crate) fn host(&self) -> OsString {
        let mut host = OsString::from("sim:");
        host.push(self.path());
        host
    }
}

/// Polls until `condition` holds.
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "it never came to hold");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A run of `xmem` with these words, without a sim.
pub(crate) fn xmem(words: &str) -> Call<'static> {
    Call {
        sim: None,
        argv: [env!("CARGO_BIN_EXE_xmem")]
            .into_iter()
            .chain(words.split_whitespace())
            .map(OsString::from)
            .collect(),
        envs: Vec::new(),
        // Moving balloons would change the world on their own.
        faults: "guest-ignores".to_owned(),
        leaves: 0,
        recovers: false,
        stdin: None,
        stdout: None,
        stderr: None,
    }
}

/// A run that has not started yet.
#[must_use = "it has not run yet"]
#[derive(Debug)]
pub(crate) struct Call<'a> {
    sim: Option<&'a Sim>,
    argv: Vec<OsString>,
    envs: Vec<(String, OsString)>,
    faults: String,
    leaves: usize,
    recovers: bool,
    stdin: Option<Stdio>,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
}

impl<'a> Call<'a> {
    /// Adds one word, blanks included.
    pub(crate) fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.argv.push(word.as_ref().to_owned());
        self
    }

    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((key.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Names this sim in the environment, not on the command line.
    pub(crate) fn within<'b>(self, sim: &'b Sim) -> Call<'b>
    where
        'a: 'b,
    {
        Call { sim: Some(sim), ..self }
    }

    /// Adds one of the sim's faults.
    pub(crate) fn fault(mut self, fault: &str) -> Self {
        self.faults = format!("{},{fault}", self.faults);
        self
    }

    /// Lets guests follow their targets.
    pub(crate) fn moving(mut self) -> Self {
        self.faults.clear();
        self
    }

    /// Expects this number of files left in the state directory.
    pub(crate) fn leaves(self, leaves: usize) -> Self {
        Self { leaves, ..self }
    }

    /// Expects a recovery, which changes the world even if the run then fails.
    pub(crate) fn recovers(self) -> Self {
        Self { recovers: true, ..self }
    }

    /// Ignores SIGHUP, as `nohup` does.
    pub(crate) fn ignoring_sighup(self) -> Self {
        self.started_by(&["nohup"])
    }

    /// Starts it from a shell, which prints the exit code that it sees on stderr.
    pub(crate) fn by_a_shell(self) -> Self {
        self.started_by(&["sh", "-c", "\"$0\" \"$@\"; echo \"a shell sees $?\" >&2"])
    }

    /// Starts it in the background of a shell that has `terminal`.
    pub(crate) fn in_the_background_of(self, terminal: &OwnedFd) -> Self {
        let other = || terminal.try_clone().unwrap().into();
        let argv = ["setsid", "--ctty", "--wait", "bash", "-c", "set -m; \"$0\" \"$@\" & wait"];
        let call = self.started_by(&argv);
        Self { stdin: Some(other()), stdout: Some(other()), stderr: Some(other()), ..call }
    }

    /// With stdout closed, unlike a pipe that is not read.
    pub(crate) fn with_closed_stdout(self) -> Self {
        self.started_by(&["sh", "-c", "exec \"$0\" \"$@\" >&-"])
    }

    /// With a limit on the size of its files (`RLIMIT_FSIZE`); with SIGXFSZ ignored, write(2) fails instead.
    pub(crate) fn with_files_of(self, bytes: u64, ignoring_sigxfsz: bool) -> Self {
        let disposition =
            if ignoring_sigxfsz { "--ignore-signal=XFSZ" } else { "--default-signal=XFSZ" };
        // No core dump, whatever the machine's settings.
        let script = format!("ulimit -c 0; exec env {disposition} prlimit --fsize={bytes} \"$@\"");
        self.started_by(&["sh", "-c", &script, "sh"])
    }

    fn started_by(mut self, argv: &[&str]) -> Self {
        self.argv.splice(..0, argv.iter().map(OsString::from));
        self
    }

    /// With `text` as standard input.
    pub(crate) fn stdin(self, text: &str) -> Self {
        let (reader, mut writer) = io::pipe().unwrap();
        let text = text.to_owned();
        // The run may end before it has read everything.
        thread::spawn(move || writer.write_all(text.as_bytes()));
        Self { stdin: Some(reader.into()), ..self }
    }

    pub(crate) fn stderr(self, to: impl Into<Stdio>) -> Self {
        Self { stderr: Some(to.into()), ..self }
    }

    pub(crate) fn stdout(self, to: impl Into<Stdio>) -> Self {
        Self { stdout: Some(to.into()), ..self }
    }

    /// Starts it. The caller checks the output.
    pub(crate) fn start(self) -> Running {
        // A child would inherit signals that the tests' parent ignores (nohup).
        let mut command = Command::new("env");
        command.env_clear().arg("--default-signal").args(&self.argv);
        // In an orphaned process group (setsid) Ctrl-Z stops nothing.
        command.process_group(0);
        command.envs(self.envs).env("XMEM_SIM_FAULT", &self.faults);
        command.stdin(self.stdin.unwrap_or_else(Stdio::null));
        command.stdout(self.stdout.unwrap_or_else(Stdio::piped));
        command.stderr(self.stderr.unwrap_or_else(Stdio::piped));
        Running::new(command.spawn().unwrap())
    }

    /// Runs it to its end, and checks what must always hold.
    pub(crate) fn run(self) -> Ran {
        let (sim, leaves, recovers) = (self.sim, self.leaves, self.recovers);
        let (before, what) = (sim.map(Sim::text), self.argv.clone());
        let ran = Ran::new(self.start().wait_with_output(), sim.map(Sim::path));
        if let Some(sim) = sim {
            let state = sim.state();
            assert_eq!(state.len(), leaves, "{what:?} left {state:?}: {ran:?}");
            let failed = ran.status.code().is_some_and(|code| !matches!(code, 0 | 8..=10));
            if failed && !recovers {
                assert_eq!(Some(sim.text()), before, "{what:?} changed something: {ran:?}");
            }
        }
        ran
    }
}

/// A run in progress, killed when it is dropped or takes too long.
#[derive(Debug)]
pub(crate) struct Running {
    child: Option<Child>,
    /// Stops the thread that watches the deadline when it is dropped.
    _ended: Sender<()>,
}

impl Running {
    pub(crate) fn new(child: Child) -> Self {
        let (ended, deadline) = channel();
        let pid = pid(&child);
        thread::spawn(move || {
            if deadline.recv_timeout(DEADLINE) == Err(RecvTimeoutError::Timeout) {
                kill(pid, Signal::SIGKILL).unwrap();
            }
        });
        Self { child: Some(child), _ended: ended }
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill(pid(self), signal).unwrap();
    }

    pub(crate) fn wait_with_output(mut self) -> Output {
        self.child.take().unwrap().wait_with_output().unwrap()
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap())
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.child.as_ref().unwrap()
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already.
            let _killed = child.kill();
            let _ended = child.wait();
        }
    }
}

/// The result of a run.
#[must_use = "check at least its exit code"]
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The output, with the sim's directory replaced by DIR.
    pub(crate) fn new(output: Output, dir: Option<&Path>) -> Self {
        let text = |bytes| {
            let text = String::from_utf8(bytes).unwrap();
            let steers = |c| c != '\n' && c != '\t' && Escaped::must_escape(c);
            assert!(!text.contains(steers), "{text:?}");
            match dir {
                Some(dir) => text.replace(dir.to_str().unwrap(), "DIR"),
                None => text,
            }
        };
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        let ran = Self { status: output.status, stdout, stderr };
        for line in ran.stdout.lines().filter(|line| line.starts_with('{')) {
            schema::check(&serde_json::from_str(line).unwrap());
        }
        // A remedy for a simulated domain is marked if it names a program of Xen.
        if dir.is_some() {
            for line in ran.stderr.lines().chain(ran.stdout.lines()).map(str::trim_start) {
                let is_unmarked = line.starts_with("hint: ") || line.starts_with("fix: ");
                let is_for_xen = ["xl info", "xl unpause", "xenstore-"].map(|it| line.contains(it));
                assert!(!is_unmarked || !is_for_xen.contains(&true), "{line:?}");
            }
        }
        ran
    }

    /// Checks exit code, stdout and stderr.
    #[track_caller]
    pub(crate) fn is(&self, code: i32, stdout: impl IntoData, stderr: impl IntoData) {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        assert_data_eq!(self.stdout.clone(), stdout.raw());
        assert_data_eq!(self.stderr.clone(), stderr.raw());
    }

    /// Checks that it succeeded and printed only this.
    #[track_caller]
    pub(crate) fn says(&self, stdout: impl IntoData) {
        self.is(0, stdout, "");
    }

    /// Checks that it failed with this message.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, stderr: impl IntoData) {
        self.is(code, "", stderr);
    }

    /// The JSON objects on stdout.
    #[track_caller]
    pub(crate) fn objects(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The one JSON object on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn dies_by(&self, signal: Signal) {
        assert_eq!(self.status.signal(), Some(signal as i32), "{self:?}");
    }
}
