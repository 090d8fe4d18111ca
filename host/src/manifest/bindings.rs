//! Bindings: `[namespaces]` and `[share]`, what an app's code finds of its own objects
//! and of other apps, and what other apps find of its.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeValue;

use super::reader::{Mistakes, Section, string, strings};
use super::{Binding, check_name, is_variable_name};

pub(super) fn read_namespaces(
    root: &mut Section<'_>,
    mistakes: &mut Mistakes<'_>,
) -> BTreeMap<String, Binding> {
    let section = root.section("namespaces", mistakes);
    let mut bindings = BTreeMap::new();
    for (key, value) in section.table {
        let name = key.get_ref().to_string();
        if !is_variable_name(&name) {
            let rule = "a name here has letters, digits and `_`, no digit first";
            mistakes.add(key.span().start, format!("`namespaces.{name}`: {rule}"));
        }
        let offset = value.span().start;
        match binding(value.into_inner()) {
            Ok(binding) => drop(bindings.insert(name, binding)),
            Err(message) => mistakes.add(offset, format!("`namespaces.{name}`: {message}")),
        }
    }
    bindings
}

fn binding(value: DeValue<'_>) -> Result<Binding, String> {
    let DeValue::Table(mut table) = value else {
        let class = string(value)?;
        return Ok(Binding { app: None, class });
    };
    let mut take = |key: &str| {
        let value = table.remove(key);
        let text = value.map(|value| string(value.into_inner()));
        text.ok_or_else(|| {
            format!("`{key}` is missing; write {{ app = \"name\", class = \"Class\" }}")
        })?
    };
    let (app, class) = (take("app")?, take("class")?);
    check_name(&app)?;
    match table.keys().next() {
        None => Ok(Binding {
            app: Some(app),
            class,
        }),
        Some(key) => Err(format!(
            "unknown key `{}`; known here: app, class",
            key.get_ref()
        )),
    }
}

pub(super) fn read_share(
    root: &mut Section<'_>,
    mistakes: &mut Mistakes<'_>,
) -> BTreeMap<String, BTreeSet<String>> {
    let section = root.section("share", mistakes);
    let mut share = BTreeMap::new();
    for (key, value) in section.table {
        let class = key.get_ref().to_string();
        let offset = value.span().start;
        let apps = strings(value.into_inner()).and_then(|apps| {
            apps.iter().try_for_each(|app| check_name(app))?;
            Ok(apps)
        });
        match apps {
            Ok(apps) => drop(share.insert(class, apps.into_iter().collect())),
            Err(message) => mistakes.add(offset, format!("`share.{class}`: {message}")),
        }
    }
    share
}

#[cfg(test)]
mod tests {
    use crate::manifest::Manifest;

    #[test]
    fn a_binding_that_leads_nowhere_is_refused_with_its_place() {
        let mistakes = |text: &str| {
            let text = format!("name = \"a\"\n{text}\n");
            let found = Manifest::parse(&text, None).expect_err("the text has mistakes");
            found[0].to_string()
        };
        assert_eq!(
            mistakes("namespaces.X = { app = \"b\" }"),
            "2:16: `namespaces.X`: `class` is missing; write { app = \"name\", class = \"Class\" }"
        );
        let told = mistakes("namespaces.X = { app = \"B b\", class = \"C\" }");
        assert!(
            told.starts_with("2:16: `namespaces.X`: the name \"B b\" holds"),
            "{told}"
        );
        let told = mistakes("namespaces.X = { app = \"b\", class = \"C\", id = \"1\" }");
        assert!(
            told.ends_with("unknown key `id`; known here: app, class"),
            "{told}"
        );
        assert_eq!(
            mistakes("namespaces.X = 1"),
            "2:16: `namespaces.X`: expected a string, found integer"
        );
        let told = mistakes("share.C = [\"B b\"]");
        assert!(told.starts_with("2:11: `share.C`: the name"), "{told}");
        assert_eq!(
            mistakes("share.C = \"b\""),
            "2:11: `share.C`: expected a list of strings, found string"
        );
    }
}
