//! The guide to testing shows tests that run, word for word.

use std::fs;

use crate::harness::root;

const RUN: [&str; 4] = [
    "tests/guests.rs",
    "tests/kit.rs",
    "tests/test_kit.rs",
    "tests/web/held.test.mjs",
];

#[test]
fn every_example_of_the_guide_is_a_test_that_runs() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let sources = RUN.map(|path| without_layout(&read(path)));
    let guide = read("docs/testing.md");
    let mut count = 0;
    for language in ["```rust\n", "```js\n"] {
        for rest in guide.split(language).skip(1) {
            let example = rest.split("```").next().unwrap();
            let wanted = without_layout(example);
            let runs = sources.iter().any(|source| source.contains(&wanted));
            assert!(runs, "docs/testing.md shows what no test runs:\n{example}");
            count += 1;
        }
    }
    assert!(count > 10, "{count} examples");
}

/// Lines without indentation, and no empty ones.
fn without_layout(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}
