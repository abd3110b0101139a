//! A sim of one's own, and runs of xmem in it.
//!
//! Every run is checked for what must hold whatever the test is about: nothing is left in the state
//! folder, a run that failed has changed nothing, and nothing that could steer a terminal is printed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use serde_json::Value;
use snapbox::{IntoData, assert_data_eq};
use tempfile::TempDir;
use xmem::harmless::Harmless;
use xmem::host::sim::{Faults, SimHost};

/// The UUIDs of the start world's guests end in their domid.
pub(crate) const WEB: &str = "00000000-0000-4000-8000-000000000007";

/// A sim in a folder of its own.
#[derive(Debug)]
pub(crate) struct Sim(TempDir);

impl Sim {
    /// With the start world: dom0, `web` (7, PVH, 1 of 2 GiB), `db` (8, PV, 2 of 4 GiB) and `win` (9,
    /// HVM, 2 of 2 GiB with 16 MiB of video memory).
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        SimHost::with_faults(Some(dir.path()), Faults::default()).unwrap();
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

    /// The files in the state folder: locks and intents.
    pub(crate) fn state(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path().join("lib")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// `web`'s lock file.
    pub(crate) fn lock(&self) -> PathBuf {
        self.path().join(format!("lib/userdata-l.7.{WEB}.domain-userdata-lock"))
    }

    /// `web`'s intent.
    pub(crate) fn intent(&self) -> PathBuf {
        self.path().join(format!("lib/userdata-d.7.{WEB}.xmem-intent"))
    }

    /// `xmem --host sim:DIR` with `words`, which stand between blanks.
    pub(crate) fn xmem(&self, words: &str) -> Call<'_> {
        let host = ["--host".into(), self.host()];
        Call::new(Some(self), host.into_iter().chain(words.split_whitespace().map(OsString::from)))
    }

    pub(crate) fn host(&self) -> OsString {
        let mut host = OsString::from("sim:");
        host.push(self.path());
        host
    }
}

/// `xmem` with `words`, without a sim.
pub(crate) fn xmem(words: &str) -> Call<'static> {
    Call::new(None, words.split_whitespace().map(OsString::from))
}

/// A run that is about to be.
#[must_use = "it has not run yet"]
#[derive(Debug)]
pub(crate) struct Call<'a> {
    sim: Option<&'a Sim>,
    command: Command,
    faults: String,
    leaves: usize,
    settles: bool,
    own_stdout: bool,
    own_stderr: bool,
}

impl<'a> Call<'a> {
    fn new(sim: Option<&'a Sim>, words: impl Iterator<Item = OsString>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xmem"));
        command.env_clear().stdin(Stdio::null()).args(words);
        // A balloon that moves would change the world all by itself.
        Self {
            sim,
            command,
            faults: "guest-ignores".to_owned(),
            leaves: 0,
            settles: false,
            own_stdout: false,
            own_stderr: false,
        }
    }

    /// One more word, blanks and all.
    pub(crate) fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.command.arg(word);
        self
    }

    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// In this sim, which is not named on the command line.
    pub(crate) fn within(self, sim: &'a Sim) -> Self {
        Self { sim: Some(sim), ..self }
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

    /// It leaves so many files in the state folder.
    pub(crate) fn leaves(self, leaves: usize) -> Self {
        Self { leaves, ..self }
    }

    /// It settles what an earlier run left, even if it fails then.
    pub(crate) fn settles(self) -> Self {
        Self { settles: true, ..self }
    }

    /// As `nohup` starts it.
    pub(crate) fn ignoring_sighup(self) -> Self {
        self.started_by("nohup", &[])
    }

    /// As a child of a shell, which tells the exit code that it sees on stderr.
    pub(crate) fn by_a_shell(self) -> Self {
        self.started_by("sh", &["-c", "\"$0\" \"$@\"; echo \"a shell sees $?\" >&2"])
    }

    /// With stdout closed, which is not the same as one that nobody reads.
    pub(crate) fn with_closed_stdout(self) -> Self {
        self.started_by("sh", &["-c", "exec \"$0\" \"$@\" >&-"])
    }

    /// It ends by itself, or else with code 124.
    pub(crate) fn in_time(self) -> Self {
        self.started_by("timeout", &["20"])
    }

    /// No file of its may become longer than so many bytes; whoever ignores the signal for it meets an error.
    pub(crate) fn with_files_of(self, bytes: u64, ignoring_sigxfsz: bool) -> Self {
        let disposition =
            if ignoring_sigxfsz { "--ignore-signal=XFSZ" } else { "--default-signal=XFSZ" };
        // No core, whatever the machine is set to.
        let script = format!("ulimit -c 0; exec env {disposition} prlimit --fsize={bytes} \"$@\"");
        self.started_by("sh", &["-c", &script, "sh"])
    }

    fn started_by(self, program: &str, words: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.env_clear().stdin(Stdio::null()).args(words);
        command.arg(self.command.get_program()).args(self.command.get_args());
        Self { command, ..self }
    }

    pub(crate) fn stderr(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stderr(to);
        self.own_stderr = true;
        self
    }

    pub(crate) fn stdout(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stdout(to);
        self.own_stdout = true;
        self
    }

    /// Starts it. Nothing of it is checked.
    pub(crate) fn start(mut self) -> Child {
        self.command.env("XMEM_SIM_FAULT", &self.faults);
        if !self.own_stderr {
            self.command.stderr(Stdio::piped());
        }
        if !self.own_stdout {
            self.command.stdout(Stdio::piped());
        }
        self.command.spawn().unwrap()
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Ran {
        let before = self.sim.map(Sim::text);
        self.command.env("XMEM_SIM_FAULT", &self.faults);
        let ran = Ran::new(self.command.output().unwrap(), self.sim.map(Sim::path));
        if let Some(sim) = self.sim {
            let (what, state) = (&self.command, sim.state());
            assert_eq!(state.len(), self.leaves, "{what:?} left {state:?}: {ran:?}");
            let failed = ran.status.code().is_some_and(|code| !matches!(code, 0 | 8..=10));
            if failed && !self.settles {
                assert_eq!(Some(sim.text()), before, "{what:?} changed something: {ran:?}");
            }
        }
        ran
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
    /// With the sim's folder called DIR.
    pub(crate) fn new(output: Output, dir: Option<&Path>) -> Self {
        let text = |bytes| {
            let text = String::from_utf8(bytes).unwrap();
            let harmful = |c| c != '\n' && Harmless::is_harmful(c);
            assert!(!text.contains(harmful), "{text:?}");
            match dir {
                Some(dir) => text.replace(dir.to_str().unwrap(), "DIR"),
                None => text,
            }
        };
        Self { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
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

    /// The one JSON object on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn dies_by(&self, signal: nix::sys::signal::Signal) {
        assert_eq!(self.status.signal(), Some(signal as i32), "{self:?}");
    }
}
