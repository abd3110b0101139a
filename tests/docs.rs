//! Runs every `console` example of README and docs on the simulated host, and compares what it prints. Compares the tables
//! of `docs/tested.md` with the plan of boots.
//!
//! A line after `$ ` or `# ` is a command, `> ` continues it; the rest is its output, stderr included. `...` stands for
//! any lines, `[..]` for any text in a line. Each page has a directory of its own; its commands run in one shell, in
//! order.
//!
//! A block whose language is followed by a name (```` ```sh balance ````) is a file of that name in the directory. What a
//! `crontab` or a systemd unit (`ini`) runs from /etc/xmem is run there, and must print nothing. A `crontab` finds only
//! programs in its own `PATH` or in cron's; the program under test is in `/usr/sbin`.

#![cfg(test)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Much longer than any example takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// The `PATH` of cron's commands.
const PATH_OF_CRON: &str = "PATH=/usr/bin:/bin";

/// A command and its documented output.
struct Example {
    line: usize,
    command: String,
    output: String,
    as_root: bool,
}

fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    // The words behind the ``` of the block that a line is in.
    let mut block: Option<&str> = None;
    let mut cron_path = PATH_OF_CRON;
    for (line, text) in (1..).zip(page.lines()) {
        let example =
            |command: String| Example { line, command, output: String::new(), as_root: false };
        if let Some(words) = text.strip_prefix("```") {
            match (block.replace(words), words.split_once(' ')) {
                (None, Some((_, name))) => examples.push(example(format!("cat > {name} <<'````'"))),
                (None, None) => cron_path = PATH_OF_CRON,
                (Some(words), _) => {
                    block = None;
                    if let (true, Some(file)) = (words.contains(' '), examples.last_mut()) {
                        file.command.push_str("\n````");
                    }
                }
            }
            continue;
        }
        let prompt = |sign: &str| text.strip_prefix(sign).map(str::to_owned);
        match (block, examples.last_mut()) {
            (Some("console"), last) => {
                if let Some(command) = prompt("$ ") {
                    examples.push(example(command));
                } else if let Some(command) = prompt("# ") {
                    examples.push(Example { as_root: true, ..example(command) });
                } else if let Some(last) = last {
                    let (more, text) = match text.strip_prefix("> ") {
                        Some(more) => (&mut last.command, more),
                        None => (&mut last.output, text),
                    };
                    if !more.is_empty() {
                        more.push('\n');
                    }
                    more.push_str(text);
                }
            }
            (Some("crontab"), _) => {
                if text.starts_with("PATH=") {
                    cron_path = text;
                }
                let command = text.split_once(" root ").map(|(_, command)| command);
                examples.extend(command.map(|it| {
                    let path = cron_path.replace("/usr/sbin", "$SBIN");
                    example(format!("({path}; {})", it.replace("/etc/xmem/", "")))
                }));
            }
            (Some("ini"), _) => {
                let command = text.strip_prefix("ExecStart=/usr/sbin/");
                examples.extend(command.map(|it| example(it.replace("/etc/xmem/", ""))));
            }
            (Some(words), Some(file)) if words.contains(' ') => {
                file.command.push('\n');
                file.command.push_str(text);
            }
            _ => {}
        }
    }
    examples
}

fn run(page: &Path) {
    let examples = examples(&fs::read_to_string(page).unwrap());
    assert!(!examples.is_empty(), "{} has no examples", page.display());
    let dir = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_xmem")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash")
        .args(["--noprofile", "--norc"])
        .current_dir(&dir)
        .env("PATH", path)
        .env("SBIN", program)
        .env("XMEM_HOST", "sim:host")
        .env_remove("XMEM_SIM_FAULT")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = shell.stdin.take().unwrap();
    writeln!(input, "exec 2>&1").unwrap();
    let (sender, lines) = mpsc::channel();
    let output = shell.stdout.take().unwrap();
    thread::spawn(move || {
        BufReader::new(output).lines().try_for_each(|line| sender.send(line.unwrap()))
    });
    let mut differences = Vec::new();
    for Example { line, command, output, as_root } in examples {
        let end = format!("-- end of line {line} --");
        writeln!(input, "{command}\nstatus=$?\necho; echo '{end}'; (exit $status)").unwrap();
        let mut printed = Vec::new();
        loop {
            match lines.recv_timeout(DEADLINE) {
                Ok(text) if text == end => break,
                Ok(text) => printed.push(text),
                Err(error) => {
                    shell.kill().unwrap();
                    panic!("{}:{line}: {command}: {error}; so far: {printed:#?}", page.display());
                }
            }
        }
        printed.pop();
        let mut printed = printed.join("\n");
        if as_root {
            printed = printed.replace(" (simulated)", "");
        }
        let at = format!("{}:{line}: {command}", page.display());
        let result = snapbox::Assert::new().try_eq(Some(&at), printed.into(), output.into());
        differences.extend(result.err().map(|error| error.to_string()));
    }
    drop(input);
    shell.wait().unwrap();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

macro_rules! pages {
    ($($name:ident: $path:literal),+ $(,)?) => {$(
        #[test]
        fn $name() {
            run(&Path::new(env!("CARGO_MANIFEST_DIR")).join($path));
        }
    )+

        #[test]
        fn every_page_with_examples_is_run() {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let pages = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
            for page in pages.filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
                let has_some = !examples(&fs::read_to_string(&page).unwrap()).is_empty();
                let name = page.strip_prefix(root).unwrap().to_str().unwrap();
                assert_eq!(has_some, [$($path),+].contains(&name), "{name}");
            }
        }
    };
}

/// No boot is claimed that is not in the plan, and none with other checks.
#[test]
fn the_tables_of_boots_are_the_plans() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let printed = Command::new(root.join("tests/xen/run")).arg("--plan").output().unwrap();
    let plan = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.status.success() && plan.starts_with("| boot |"), "{plan}");
    let page = fs::read_to_string(root.join("docs/tested.md")).unwrap();
    let tables = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with('|')).map(str::to_owned).collect()
    };
    assert_eq!(tables(&page), tables(&plan), "put there what tests/xen/run --plan prints");
}

pages! {
    readme: "README.md",
    guide: "docs/guide.md",
    check: "docs/check.md",
    many: "docs/many.md",
    cookbook: "docs/cookbook.md",
}
