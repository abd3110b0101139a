use super::*;
use crate::size::Amount;

const WIN: &str = "00000000-0000-4000-8000-000000000009";

/// The lines as (number, domain, `size` or `target`, KiB).
fn read(text: &str) -> Vec<(usize, String, &'static str, u64)> {
    let batch = parse(text);
    assert_eq!(batch.errors, [], "{text}");
    let shown = |line: Line| match line.to {
        Wanted::Size(Size { amount: Amount::To(kib), .. }) => {
            (line.number, line.domain.to_string(), "size", kib.0)
        }
        Wanted::Target(kib) => (line.number, line.domain.to_string(), "target", kib.0),
        other @ Wanted::Size(_) => panic!("{other:?}"),
    };
    batch.lines.into_iter().map(shown).collect()
}

/// The errors as `line: text`.
fn problems(text: &str) -> Vec<String> {
    let errors = parse(text).errors;
    errors.iter().map(|error| format!("{}: {}", error.number, error.problem)).collect()
}

fn only_problem(text: &str) -> LineProblem {
    let errors = parse(text).errors;
    assert_eq!(errors.len(), 1, "{text}: {errors:?}");
    errors.into_iter().next().unwrap().problem
}

fn size(number: usize, domain: &str, kib: u64) -> (usize, String, &'static str, u64) {
    (number, domain.to_owned(), "size", kib)
}

#[test]
fn lines_of_domain_and_size_and_json_may_alternate() {
    let text = "# a plan\n\nweb 512M\n  my guest\t1G \nid:7 4k\n\
        {\"uuid\":\"00000000-0000-4000-8000-000000000009\",\"target_kib\":507904}\n\
        {\"name\":\"a b\",\"size_kib\":8}\n\
        {\"schema\":2,\"command\":\"list\",\"host\":{\"total_kib\":1}}\n";
    assert_eq!(
        read(text),
        [
            size(3, "`web`", 524_288),
            size(4, "`my guest`", 1_048_576),
            size(5, "domain 7", 4),
            (6, format!("UUID {WIN}"), "target", 507_904),
            size(7, "`a b`", 8),
        ]
    );
}

#[test]
fn a_name_with_spaces_may_be_quoted_escaped_or_plain() {
    for line in [
        "\"SQL 227\" 1G",
        "'SQL 227' 1G",
        "SQL\\ 227 1G",
        "SQL 227 1G",
        "  \"SQL 227\"\t1G   # the database",
        "SQL 227 1G # the database",
        "SQL 227 1G\t#the database",
    ] {
        assert_eq!(read(line), [size(1, "`SQL 227`", 1_048_576)], "{line}");
    }
    assert_eq!(read("\"a \\\"b\\\\\" 1G"), [size(1, "`a \"b\\`", 1_048_576)]);
    assert_eq!(read("web#1 1G"), [size(1, "`web#1`", 1_048_576)]);
    assert_eq!(read("C:\\a 1G"), [size(1, "`C:\\a`", 1_048_576)]);
    assert_eq!(read("SQL \\#227 1G"), [size(1, "`SQL #227`", 1_048_576)]);
    assert_eq!(only_problem("\"SQL 227 1G"), LineProblem::Unclosed { quote: '"' });
    for line in ["\"SQL 227\"1G", "\"SQL 227\"", "\"SQL\" 227 1G", "web # 512M", "SQL #227 1G"] {
        assert_eq!(only_problem(line), LineProblem::Words, "{line}");
    }
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_ignored() {
    let text =
        "\u{feff}web 512M\r\n\r\n# x\r\n\u{feff}db 1G # y\r\n{\"domid\":7,\"size_kib\":4}\r\n";
    assert_eq!(
        read(text),
        [size(1, "`web`", 524_288), size(4, "`db`", 1_048_576), size(5, "domain 7", 4)]
    );
}

/// `jq .` without -c, and `jq -s`.
#[test]
fn pretty_printed_objects_and_arrays_are_read_like_json_lines() {
    let object = "{\n  \"domid\": 7,\n  \"target_kib\": 524288,\n  \"notes\": [\n    {}\n  ]\n}";
    let expected = |number| (number, "domain 7".to_owned(), "target", 524_288);
    assert_eq!(read(object), [expected(1)]);
    assert_eq!(read(&format!("{object}\n{object}\n")), [expected(1), expected(8)]);
    assert_eq!(read(&format!("[\n{object},\n{object}\n]\n")), [expected(2), expected(9)]);
    assert_eq!(
        read("[{\"domid\":7,\"target_kib\":524288},{\"domid\":7,\"target_kib\":524288}]\nweb 4k"),
        [expected(1), expected(1), size(2, "`web`", 4)]
    );
    assert_eq!(
        read("{\"domid\":7,\"target_kib\":524288}{\"domid\":7,\"target_kib\":524288} # two"),
        [expected(1), expected(1)]
    );
}

/// The rest of the broken object adds no further errors.
#[test]
fn a_mistake_in_pretty_printed_json_is_one_error() {
    let text = "{\n  \"domid\": 7\n  \"target_kib\": 1,\n  \"notes\": []\n}\nweb 1.5G\n";
    let problems = problems(text);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert_eq!(problems[0], "1: not valid JSON (at line 3)");
    assert!(problems[1].starts_with("6: size `1.5G`"), "{problems:?}");
}

#[test]
fn truncated_json_is_refused() {
    for text in [
        "{\"domid\":7,\"target_kib\":524288",
        "[{\"domid\":7,\"target_kib\":524288},",
        "[{\"domid\":7,\"target_kib\":524288}\n",
        "[",
        "{\n  \"domid\": 7,\n",
    ] {
        assert_eq!(only_problem(text), LineProblem::Incomplete, "{text}");
    }
    for text in ["[1]", "[\"web\"]", "[{\"domid\":7,\"size_kib\":4}, null]"] {
        assert_eq!(only_problem(text), LineProblem::NotAnObject, "{text}");
    }
    for text in ["{\"domid\":7,\"size_kib\":4} web 1G", "{\"domid\":7,\"size_kib\":4},"] {
        assert_eq!(only_problem(text), LineProblem::Json { line: 1 }, "{text}");
    }
}

#[test]
fn target_kib_is_the_target_whatever_else_the_line_has() {
    for rest in ["", ",\"videoram_kib\":16384", ",\"videoram_kib\":16384,\"size_kib\":2097152"] {
        let text = format!("{{\"domid\":9,\"target_kib\":2080768{rest}}}");
        assert_eq!(parse(&text).lines[0].to, Wanted::Target(Kib(2_080_768)), "{text}");
    }
    assert_eq!(
        parse("{\"domid\":9,\"size_kib\":2097154,\"target_kib\":null}").lines[0].to,
        Wanted::Size(Size { amount: Amount::To(Kib(2_097_152)), cut: 2048 })
    );
}

#[test]
fn the_other_numbers_of_a_line_are_kept_for_comparison() {
    let text = "{\"domid\":9,\"name\":\"win\",\"uuid\":\"00000000-0000-4000-8000-000000000009\",\
        \"target_kib\":4,\"size_kib\":8,\"static_max_kib\":12,\"limit_kib\":null,\"videoram_kib\":-1}";
    let line = parse(text).lines.remove(0);
    assert_eq!(line.domain, DomainRef::Uuid(WIN.parse().unwrap()));
    let listed = Listed {
        domid: DomId::new(9),
        name: Some(Name("win".to_owned())),
        size: Some(Kib(8)),
        static_max: Some(Kib(12)),
        video: Some(-1),
        limit: Some(xen::hypervisor::UNLIMITED),
    };
    assert_eq!(line.listed, Some(listed));
}

#[test]
fn the_uuid_identifies_the_domain_except_for_dom0() {
    let line = |text: &str| parse(text).lines.remove(0).domain;
    let nil = "00000000-0000-0000-0000-000000000000";
    assert_eq!(
        line(&format!("{{\"domid\":0,\"uuid\":\"{nil}\",\"target_kib\":4}}")),
        DomainRef::Id(DomId::DOM0)
    );
    assert_eq!(
        line(&format!("{{\"domid\":7,\"name\":\"db\",\"uuid\":\"{WIN}\",\"target_kib\":4}}")),
        DomainRef::Uuid(WIN.parse().unwrap())
    );
    assert_eq!(line("{\"name\":\"7\",\"target_kib\":4}"), DomainRef::Name(Name("7".to_owned())));
}

/// It is not skipped silently.
#[test]
fn a_json_line_that_sets_nothing_is_refused() {
    for (text, problem) in [
        ("{\"domid\":7,\"target_kb\":524288}", "unknown member `target_kb`"),
        ("{\"domid\":7,\"target_kib\":4,\"target_kb\":8}", "unknown member `target_kb`"),
        ("{\"host\":{},\"domid\":7,\"target_kib\":4}", "unknown member `host`"),
        ("{}", "no domain: neither `uuid`, `domid` nor `name`"),
        ("{\"target_kib\":4}", "no domain: neither `uuid`, `domid` nor `name`"),
        ("{\"domid\":7}", "no size: neither `target_kib` nor `size_kib`"),
        (
            "{\"domid\":7,\"target_kib\":null}",
            "`target_kib` is null: `xmem list` found none, or could not read it",
        ),
        (
            "{\"domid\":7,\"target_kib\":null,\"size_kib\":null}",
            "`target_kib` is null: `xmem list` found none, or could not read it",
        ),
        (
            "{\"domid\":7,\"size_kib\":null}",
            "`size_kib` is null: `xmem list` found none, or could not read it",
        ),
        (
            "{\"command\":\"set\",\"domid\":7,\"old\":{},\"new\":{\"target_kib\":4}}",
            "this is output of `xmem set`, not of `xmem list --json`",
        ),
        (
            "{\"domid\":7,\"new\":{\"target_kib\":4}}",
            "this is output of `xmem set`, not of `xmem list --json`",
        ),
        (
            "{\"command\":\"check\",\"summary\":{}}",
            "this is output of `xmem check`, not of `xmem list --json`",
        ),
        (
            "{\"command\":\"list\",\"error\":{\"message\":\"no Xen here\"}}",
            "`xmem list` failed: no Xen here",
        ),
        ("{\"error\":{\"message\":\"no Xen here\"}}", "`xmem list` failed: no Xen here"),
        (
            "{\"command\":\"set\",\"error\":{\"message\":\"no Xen here\"}}",
            "`xmem set` failed: no Xen here",
        ),
        (
            "{\"command\":\"set\",\"new\":{\"target_kib\":4},\"error\":{\"message\":\"no driver\"}}",
            "this is output of `xmem set`, not of `xmem list --json`",
        ),
        ("{\"domid\":7,\"domid\":8,\"target_kib\":4}", "member `domid` is repeated"),
        (
            "{\"domid\":7,\"target_kib\":\"512M\"}",
            "`target_kib` is \"512M\", not a whole number of KiB",
        ),
        ("{\"domid\":7,\"target_kib\":1.5}", "`target_kib` is 1.5, not a whole number of KiB"),
        ("{\"domid\":7,\"target_kib\":-4}", "`target_kib` is -4, not a whole number of KiB"),
        ("{\"domid\":99999,\"target_kib\":4}", "`domid` is 99999, not a number from 0 to 32751"),
        ("{\"name\":7,\"target_kib\":4}", "`name` is 7, not a string"),
        ("{\"schema\":3,\"domid\":7,\"target_kib\":4}", "`schema` is 3, not 1 or 2"),
        ("{\"domid\":7,\"target_kib\":3}", "`target_kib` is 3 KiB, less than one page (4 KiB)"),
        ("{\"domid\":7,\"size_kib\":0}", "`size_kib` is 0 KiB, less than one page (4 KiB)"),
    ] {
        assert_eq!(problems(text), [format!("1: {problem}")], "{text}");
        assert_eq!(parse(text).lines, [], "{text}");
    }
}

/// The hints for a line without a size name them.
#[test]
fn a_size_is_size_kib_or_target_kib() {
    for member in ["size_kib", "target_kib"] {
        assert_eq!(read(&format!("{{\"domid\":7,\"{member}\":524288}}")).len(), 1);
    }
}

#[test]
fn every_error_has_its_line_and_valid_lines_are_kept() {
    let text = "web\nweb 1.5G\n\nid:x 1G\n{\"domid\":1\n{\"target_kib\":4}\n{\"domid\":7,\"target_kib\":3}\nweb 1G\n";
    let batch = parse(text);
    assert_eq!(
        batch.errors.iter().map(|error| error.number).collect::<Vec<_>>(),
        [1, 2, 4, 5, 6, 7]
    );
    assert_eq!(batch.lines.iter().map(|line| line.number).collect::<Vec<_>>(), [8]);
    assert_eq!(batch.errors[0].to_string(), "line 1: not of the form `DOMAIN SIZE`");
}

#[test]
fn errors_repeat_no_text_of_the_json_library() {
    for text in ["{\"domid\":1,}", "{1:2}", "{\"a\":\"\u{1}\"}", "{\"a\":tru}", "{\"a\":1e999}"] {
        let LineProblem::Json { .. } = only_problem(text) else { panic!("{text}") };
    }
}

#[test]
fn a_file_that_is_no_batch_gives_a_bounded_number_of_errors() {
    let errors = parse(&"x\n".repeat(1000)).errors;
    assert_eq!(errors.len(), MAX_ERRORS + 1);
    let last = errors.last().unwrap();
    assert_eq!((last.number, &last.problem), (MAX_ERRORS + 1, &LineProblem::TooMany));
    assert_eq!(parse(&"x\n".repeat(MAX_ERRORS)).errors.len(), MAX_ERRORS);
}

/// Even a size of 16 MiB.
#[test]
fn a_long_argument_is_shortened_and_escaped() {
    let long = "ü".repeat(5000);
    for line in [
        format!("web {long}"),
        format!("id:{long} 1G"),
        format!("{{\"{long}\":1}}"),
        format!("{{\"domid\":\"{long}\",\"size_kib\":4}}"),
    ] {
        let text = only_problem(&line).to_string();
        assert!(text.chars().count() < 250, "{text}");
    }
    let text = only_problem("web \u{1b}[2J").to_string();
    assert!(!text.contains('\u{1b}'), "{text}");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in "[ \\n\\[\\]{}\",:#\\\\a-z0-9üM-]{0,200}") {
        let batch = parse(&text);
        let lines = text.lines().count();
        for number in batch.lines.iter().map(|line| line.number) {
            proptest::prop_assert!((1..=lines).contains(&number));
        }
    }

    #[test]
    fn a_quoted_name_round_trips(name in "[^\\p{C}\\s]([^\\p{C}]{0,20}[^\\p{C}\\s])?", kib in 1_u64..1_000_000) {
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        let batch = parse(&format!("\"name:{quoted}\" {}k", kib.saturating_mul(4)));
        proptest::prop_assert_eq!(&batch.errors, &[]);
        proptest::prop_assert_eq!(&batch.lines[0].domain, &DomainRef::Name(Name(name)));
    }
}
