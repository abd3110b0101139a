//! A sim of one's own, and runs of xmem in it.
//!
//! Every run is checked for what must hold whatever the test is about: nothing is left in the state directory, a run that
//! failed has changed nothing, nothing that could steer a terminal is printed, and JSON is as its schema says. No run
//! depends on who started the tests: it begins with default signals, an empty environment and no input, and it is killed
//! when it takes longer than any run should.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::ops::{Deref, DerefMut};
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

/// The UUIDs of the start world's guests end in their domid.
pub(crate) const WEB: &str = "00000000-0000-4000-8000-000000000007";

/// Longer than any run takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_mins(2);

/// A sim in a directory of its own.
#[derive(Debug)]
pub(crate) struct Sim(TempDir);

impl Sim {
    /// With the start world: dom0, `web` (7, PVH, 1 of 2 GiB), `db` (8, PV, 2 of 4 GiB) and `win` (9, HVM, 2 of 2 GiB with
    /// 16 MiB of video memory).
    pub(crate) fn new() -> Self {
        Self::with(StartWorld::Start)
    }

    /// With a domain in each state beside them.
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

    /// Changes the world by hand, in one step, since somebody may be looking.
    pub(crate) fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut world = self.world();
        edit(&mut world);
        let new = self.path().join("world.json.new");
        fs::write(&new, world.to_string()).unwrap();
        fs::rename(new, self.path().join("world.json")).unwrap();
    }

    /// How fast `web`'s balloon moves, when it does.
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
        // libxl's own file of each domain is always there.
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

    /// `xmem` with `words`, which stand between blanks, and this sim in its environment.
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

/// `xmem` with `words`, without a sim.
pub(crate) fn xmem(words: &str) -> Call<'static> {
    Call {
        sim: None,
        argv: [env!("CARGO_BIN_EXE_xmem")]
            .into_iter()
            .chain(words.split_whitespace())
            .map(OsString::from)
            .collect(),
        envs: Vec::new(),
        // A balloon that moves would change the world all by itself.
        faults: "guest-ignores".to_owned(),
        leaves: 0,
        recovers: false,
        stdin: None,
        stdout: None,
        stderr: None,
    }
}

/// A run that is about to be.
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
    /// One more word, blanks and all.
    pub(crate) fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.argv.push(word.as_ref().to_owned());
        self
    }

    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((key.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// In this sim, which is not named on the command line.
    pub(crate) fn within<'b>(self, sim: &'b Sim) -> Call<'b>
    where
        'a: 'b,
    {
        Call { sim: Some(sim), ..self }
    }

    /// With one more of the sim's faults.
    pub(crate) fn fault(mut self, fault: &str) -> Self {
        self.faults = format!("{},{fault}", self.faults);
        self
    }

    /// With guests that follow their targets.
    pub(crate) fn moving(mut self) -> Self {
        self.faults.clear();
        self
    }

    /// It leaves so many files in the state directory.
    pub(crate) fn leaves(self, leaves: usize) -> Self {
        Self { leaves, ..self }
    }

    /// It recovers from what a killed run left, even if it fails then.
    pub(crate) fn recovers(self) -> Self {
        Self { recovers: true, ..self }
    }

    /// As `nohup` starts it.
    pub(crate) fn ignoring_sighup(self) -> Self {
        self.started_by(&["nohup"])
    }

    /// As a child of a shell, which tells the exit code that it sees on stderr.
    pub(crate) fn by_a_shell(self) -> Self {
        self.started_by(&["sh", "-c", "\"$0\" \"$@\"; echo \"a shell sees $?\" >&2"])
    }

    /// With stdout closed, which is not the same as one that nobody reads.
    pub(crate) fn with_closed_stdout(self) -> Self {
        self.started_by(&["sh", "-c", "exec \"$0\" \"$@\" >&-"])
    }

    /// No file of its may become longer than so many bytes; whoever ignores the signal for it meets an error.
    pub(crate) fn with_files_of(self, bytes: u64, ignoring_sigxfsz: bool) -> Self {
        let disposition =
            if ignoring_sigxfsz { "--ignore-signal=XFSZ" } else { "--default-signal=XFSZ" };
        // No core, whatever the machine is set to.
        let script = format!("ulimit -c 0; exec env {disposition} prlimit --fsize={bytes} \"$@\"");
        self.started_by(&["sh", "-c", &script, "sh"])
    }

    fn started_by(mut self, argv: &[&str]) -> Self {
        self.argv.splice(..0, argv.iter().map(OsString::from));
        self
    }

    /// With `text` on standard input.
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

    /// Starts it. Nothing of it is checked.
    pub(crate) fn start(self) -> Running {
        // Signals that the tests' parent ignores (nohup) would be ignored by a child as well.
        let mut command = Command::new("env");
        command.env_clear().arg("--default-signal").args(&self.argv);
        // In an orphaned process group (setsid) Ctrl-Z would stop nobody.
        command.process_group(0);
        command.envs(self.envs).env("XMEM_SIM_FAULT", &self.faults);
        command.stdin(self.stdin.unwrap_or_else(Stdio::null));
        command.stdout(self.stdout.unwrap_or_else(Stdio::piped));
        command.stderr(self.stderr.unwrap_or_else(Stdio::piped));
        Running::new(command.spawn().unwrap())
    }

    /// Runs it to its end.
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

/// A run in progress. It is killed when it is dropped, and when it takes too long.
#[derive(Debug)]
pub(crate) struct Running {
    child: Option<Child>,
    /// Ends the wait for the deadline when it is dropped.
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

/// A run that was.
#[must_use = "its exit code at least is to be looked at"]
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// With the sim's directory called DIR.
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
        ran
    }

    /// Exactly this came out.
    #[track_caller]
    pub(crate) fn is(&self, code: i32, stdout: impl IntoData, stderr: impl IntoData) {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        assert_data_eq!(self.stdout.clone(), stdout.raw());
        assert_data_eq!(self.stderr.clone(), stderr.raw());
    }

    /// All went well, and nothing but this was said.
    #[track_caller]
    pub(crate) fn says(&self, stdout: impl IntoData) {
        self.is(0, stdout, "");
    }

    /// It failed so, in these words.
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
