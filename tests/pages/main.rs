//! The completions and the man pages, which are generated from the command line's definition and committed in
//! `completions/` and `man/`.
//!
//! `PAGES=overwrite cargo test --test pages` regenerates them.

#[cfg(test)]
#[expect(dead_code, reason = "only the definition is of interest here")]
#[path = "../../src/cli.rs"]
mod cli;
#[cfg(test)]
mod completions;
#[cfg(test)]
mod man;
#[cfg(test)]
mod plain;
#[cfg(test)]
mod sections;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::{env, fs};

    use clap::{Command, CommandFactory as _};

    use crate::cli::Cli;
    use crate::{completions, man};

    /// xmem's command line as its users are to see it.
    fn xmem() -> Command {
        let whole = Cli::command();
        let shown = whole.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned();
        Command::new("xmem")
            .version(env!("CARGO_PKG_VERSION"))
            .about(whole.get_about().cloned().unwrap_or_default())
            .after_help(whole.get_after_help().cloned().unwrap_or_default())
            .subcommand_required(true)
            .args(whole.get_arguments().cloned())
            .subcommands(shown)
    }

    /// `directory` has these files and no others.
    fn current(directory: &str, files: Vec<(impl AsRef<str>, String)>) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        let overwrite = env::var("PAGES").is_ok_and(|how| how == "overwrite");
        let mut others: BTreeSet<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        for (name, text) in files {
            let path = directory.join(name.as_ref());
            others.remove(&path);
            if overwrite {
                fs::write(&path, text).unwrap();
            } else {
                let there = fs::read_to_string(&path).unwrap_or_default();
                assert!(
                    there == text,
                    "{} is not current: PAGES=overwrite cargo test --test pages",
                    path.display()
                );
            }
        }
        for other in others {
            assert!(overwrite, "{} belongs to nothing", other.display());
            fs::remove_file(other).unwrap();
        }
    }

    #[test]
    fn completions_are_current() {
        current("completions", completions::all(&xmem()));
    }

    #[test]
    fn man_pages_are_current() {
        current("man", man::all(&xmem()));
    }
}
