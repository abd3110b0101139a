//! The completions and the man pages, which are made from the command line's definition and kept in
//! `completions/` and `man/`.
//!
//! `PAGES=overwrite cargo test --test pages` makes them anew.

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

    use clap::{Arg, Command, CommandFactory as _};

    use crate::cli::Cli;
    use crate::{completions, man};

    /// xmem's command line as its users are to see it.
    fn xmem() -> Command {
        let whole = Cli::command();
        let mut built = whole.clone().disable_help_subcommand(true);
        built.build();
        let shown = built.get_subcommands().filter(|sub| !sub.is_hide_set()).map(unbuilt);
        Command::new("xmem")
            .version(env!("CARGO_PKG_VERSION"))
            .about(whole.get_about().cloned().unwrap_or_default())
            .after_help(whole.get_after_help().cloned().unwrap_or_default())
            .subcommand_required(true)
            .args(whole.get_arguments().cloned())
            .subcommands(shown)
    }

    /// A subcommand as it was before it was built, but with its own arguments, which are only made then.
    fn unbuilt(sub: &Command) -> Command {
        let own = |arg: &&Arg| !arg.is_global_set() && arg.get_id() != "help";
        let named = |name: &str| -> &'static str { name.to_owned().leak() };
        Command::new(named(sub.get_name()))
            .about(sub.get_about().cloned().unwrap_or_default())
            .after_help(sub.get_after_help().cloned().unwrap_or_default())
            .visible_aliases(sub.get_visible_aliases().map(named).collect::<Vec<_>>())
            .args(sub.get_arguments().filter(own).cloned())
    }

    /// `folder` has these files and no others.
    fn current(folder: &str, files: Vec<(impl AsRef<str>, String)>) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let overwrite = env::var("PAGES").is_ok_and(|how| how == "overwrite");
        let mut others: BTreeSet<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        for (name, text) in files {
            let path = folder.join(name.as_ref());
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
