//! Classes: where each keeps its objects, and which migrations made it so.
//!
//! Kept in the catalog beside the versions, so that version and data change in one
//! write. A class keeps its objects, and makes their ids, under its *root*: the name it
//! was first served under, which no rename changes. Pure: counts nothing, deletes nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::manifest::Migration;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes {
    /// Oldest first.
    #[serde(default)]
    applied: Vec<Migration>,
    /// By class, for those whose root is not their name.
    #[serde(default)]
    roots: BTreeMap<String, String>,
    /// Roots whose objects are being deleted.
    #[serde(default)]
    deleting: BTreeSet<String>,
}

/// What an app's migrations would change here.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    /// The table afterwards.
    pub classes: Classes,
    /// Tags of the migrations that have not been applied yet.
    pub tags: Vec<String>,
    /// `(from, to)`, in order.
    pub renamed: Vec<(String, String)>,
    pub deleted: Vec<Deleted>,
}

/// A class whose objects go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    pub class: String,
    pub root: String,
    pub objects: usize,
}

/// Why an app does not fit the classes there are.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ClassError {
    #[error(
        "migration {tag:?} was applied to this data, and the manifest does not know it: it is \
         older than that migration, and would take the objects of {} for others'; deploy code \
         with all `[[migrations]]` that were applied ({})",
        classes.join(", "), applied.join(", ")
    )]
    Forgotten {
        tag: String,
        classes: Vec<String>,
        applied: Vec<String>,
    },
    #[error(
        "migration {tag:?} is not what was applied under this tag; write it as it was, and put \
         what is new behind it, under a tag of its own"
    )]
    Changed { tag: String },
    #[error(
        "migration {tag:?} stands before {applied:?}, which was applied already; put it behind \
         all others"
    )]
    Late { tag: String, applied: String },
    #[error(
        "migration {tag:?} {what} class `{class}`, but the component still has it; take it out \
         of the code, or list it in `new_classes` of a later migration"
    )]
    StillThere {
        tag: String,
        what: &'static str,
        class: String,
    },
    #[error(
        "migration {tag:?} renames `{from}` to `{to}`, but the component has no class `{to}`; \
         rename it in the code, too"
    )]
    Missing {
        tag: String,
        from: String,
        to: String,
    },
    #[error(
        "migration {tag:?} renames `{from}` to `{to}`, but a class `{to}` has {objects} objects \
         already; delete or rename that one first"
    )]
    Occupied {
        tag: String,
        from: String,
        to: String,
        objects: usize,
    },
}

impl Classes {
    /// Under which name a class keeps its objects.
    #[must_use]
    pub fn root<'a>(&'a self, class: &'a str) -> &'a str {
        self.roots.get(class).map_or(class, String::as_str)
    }

    pub fn deleting(&self) -> impl Iterator<Item = &str> {
        self.deleting.iter().map(String::as_str)
    }

    pub(super) fn deleted(&mut self, root: &str) {
        self.deleting.remove(root);
    }

    /// Tags of the migrations that were applied, oldest first.
    pub fn applied(&self) -> impl Iterator<Item = &str> {
        self.applied.iter().map(|step| &*step.tag)
    }

    /// Applies what `wanted` has beyond the migrations applied already. `exported` are the
    /// component's classes; `count` tells how many objects a root has.
    pub fn plan<E: From<ClassError>>(
        &self,
        wanted: &[Migration],
        exported: &[String],
        mut count: impl FnMut(&str) -> Result<usize, E>,
    ) -> Result<Steps, E> {
        let new = self.not_applied(wanted)?;
        let mut steps = Steps {
            classes: self.clone(),
            ..Steps::default()
        };
        for (at, step) in new.iter().enumerate() {
            steps.delete(step, &mut count)?;
            steps.rename(step, &mut count)?;
            check(step, &new[at..], exported)?;
            steps.tags.push(step.tag.clone());
            steps.classes.applied.push((*step).clone());
        }
        steps.classes.settle(exported);
        Ok(steps)
    }

    /// The migrations that come behind those applied, which `wanted` must have, too.
    fn not_applied<'a>(&self, wanted: &'a [Migration]) -> Result<Vec<&'a Migration>, ClassError> {
        let mut new: Vec<&Migration> = Vec::new();
        for step in wanted {
            match self.applied.iter().find(|one| one.tag == step.tag) {
                None => new.push(step),
                Some(applied) if applied != step => {
                    return Err(ClassError::Changed {
                        tag: step.tag.clone(),
                    });
                }
                Some(applied) => {
                    if let Some(before) = new.first() {
                        return Err(ClassError::Late {
                            tag: before.tag.clone(),
                            applied: applied.tag.clone(),
                        });
                    }
                }
            }
        }
        let known = |tag: &str| wanted.iter().any(|step| step.tag == tag);
        let mut forgotten = self.applied.iter();
        match forgotten.find(|step| !step.changes_nothing() && !known(&step.tag)) {
            None => Ok(new),
            Some(step) => Err(ClassError::Forgotten {
                tag: step.tag.clone(),
                classes: names(step),
                applied: self.applied().map(str::to_owned).collect(),
            }),
        }
    }

    /// Gives each class without a root one that nobody else has.
    fn settle(&mut self, exported: &[String]) {
        for class in exported {
            if self.roots.contains_key(class) || !self.is_taken(class) {
                continue;
            }
            // No class has a dot in its name, so none begins with such a root.
            let mut others = (2..).map(|number| format!("{class}.{number}"));
            let free = others.find(|root| !self.is_taken(root));
            let free = free.expect("numbers do not end");
            self.roots.insert(class.clone(), free);
        }
    }

    fn is_taken(&self, root: &str) -> bool {
        self.deleting.contains(root) || self.roots.values().any(|other| other == root)
    }

    fn set_root(&mut self, class: &str, root: String) {
        // Also where it is the name itself: it is taken then, and nobody else's.
        self.roots.insert(class.to_owned(), root);
    }
}

impl Steps {
    /// How many objects would go.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.deleted.iter().map(|one| one.objects).sum()
    }

    fn delete<E: From<ClassError>>(
        &mut self,
        step: &Migration,
        count: &mut impl FnMut(&str) -> Result<usize, E>,
    ) -> Result<(), E> {
        for class in &step.deleted_classes {
            let root = self.classes.root(class).to_owned();
            self.classes.roots.remove(class);
            self.classes.deleting.insert(root.clone());
            self.deleted.push(Deleted {
                class: class.clone(),
                objects: count(&root)?,
                root,
            });
        }
        Ok(())
    }

    fn rename<E: From<ClassError>>(
        &mut self,
        step: &Migration,
        count: &mut impl FnMut(&str) -> Result<usize, E>,
    ) -> Result<(), E> {
        for rename in &step.renamed_classes {
            let (from, to) = (&rename.from, &rename.to);
            let there = self.classes.root(to);
            // What is being deleted, or is another class's by now, is not in the way.
            let own = self.classes.roots.contains_key(to) || !self.classes.is_taken(there);
            let objects = if own { count(there)? } else { 0 };
            if objects > 0 {
                let (tag, from, to) = (step.tag.clone(), from.clone(), to.clone());
                return Err(E::from(ClassError::Occupied {
                    tag,
                    from,
                    to,
                    objects,
                }));
            }
            let root = self.classes.root(from).to_owned();
            self.classes.roots.remove(from);
            self.classes.set_root(to, root);
            self.renamed.push((from.clone(), to.clone()));
        }
        Ok(())
    }
}

/// Whether the component has what a step leaves, and no longer what it ends.
fn check(step: &Migration, onwards: &[&Migration], exported: &[String]) -> Result<(), ClassError> {
    let (tag, has) = (&step.tag, |class: &String| exported.contains(class));
    let begins = |class: &String| onwards.iter().any(|later| later.begins(class));
    let deleted = step.deleted_classes.iter().map(|class| ("deletes", class));
    let renamed = step.renamed_classes.iter();
    let renamed = renamed.map(|one| ("renames", &one.from));
    for (what, class) in deleted.chain(renamed) {
        if has(class) && !begins(class) {
            return Err(ClassError::StillThere {
                tag: tag.clone(),
                what,
                class: class.clone(),
            });
        }
    }
    for rename in &step.renamed_classes {
        let ends = |later: &&Migration| later.ends(&rename.to);
        if !has(&rename.to) && !onwards.iter().any(ends) {
            return Err(ClassError::Missing {
                tag: tag.clone(),
                from: rename.from.clone(),
                to: rename.to.clone(),
            });
        }
    }
    Ok(())
}

/// The classes that a step is about.
fn names(step: &Migration) -> Vec<String> {
    let renamed = step.renamed_classes.iter().map(|one| &one.to);
    let names = step.deleted_classes.iter().chain(renamed);
    names.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Rename;

    fn step(tag: &str, deleted: &[&str], renamed: &[(&str, &str)], new: &[&str]) -> Migration {
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let rename = |(from, to): &(&str, &str)| Rename {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
        };
        Migration {
            tag: tag.to_owned(),
            deleted_classes: texts(deleted),
            renamed_classes: renamed.iter().map(rename).collect(),
            new_classes: texts(new),
        }
    }

    fn plan(
        before: &Classes,
        wanted: &[Migration],
        exported: &[&str],
    ) -> Result<Steps, ClassError> {
        with_objects(before, wanted, exported, &[])
    }

    fn with_objects(
        before: &Classes,
        wanted: &[Migration],
        exported: &[&str],
        objects: &[(&str, usize)],
    ) -> Result<Steps, ClassError> {
        let exported: Vec<String> = exported.iter().map(|name| (*name).to_owned()).collect();
        let count = |root: &str| {
            let found = objects.iter().find(|(name, _)| *name == root);
            Ok::<_, ClassError>(found.map_or(0, |(_, count)| *count))
        };
        before.plan(wanted, &exported, count)
    }

    #[test]
    fn a_renamed_class_keeps_its_root_and_a_new_one_of_its_name_has_another() {
        let one = [step("v1", &[], &[("Room", "Hall")], &[])];
        let steps = plan(&Classes::default(), &one, &["Hall"]).unwrap();
        assert_eq!(steps.classes.root("Hall"), "Room");
        let again = plan(&steps.classes, &one, &["Hall"]).unwrap();
        assert_eq!((&again.classes, again.tags.len()), (&steps.classes, 0));

        let two = [one[0].clone(), step("v2", &[], &[], &["Room"])];
        let steps = plan(&steps.classes, &two, &["Hall", "Room"]).unwrap();
        assert_eq!(steps.classes.root("Room"), "Room.2");
        assert_eq!(steps.classes.root("Hall"), "Room");
        // In one go, on data that knew nothing of it, it comes to the same.
        let at_once = plan(&Classes::default(), &two, &["Hall", "Room"]).unwrap();
        assert_eq!(at_once.classes, steps.classes);
        // The old name comes back with its objects.
        let three = [
            two[0].clone(),
            two[1].clone(),
            step("v3", &["Room"], &[("Hall", "Room")], &[]),
        ];
        let objects = [("Room", 5), ("Room.2", 2)];
        let steps = with_objects(&steps.classes, &three, &["Room"], &objects).unwrap();
        assert_eq!(steps.classes.root("Room"), "Room");
        assert_eq!((steps.objects(), &*steps.deleted[0].root), (2, "Room.2"));
        assert_eq!(steps.classes.deleting().collect::<Vec<_>>(), ["Room.2"]);
    }

    #[test]
    fn a_class_that_begins_again_while_its_objects_go_does_not_see_them() {
        let wanted = [
            step("v1", &["Room"], &[], &[]),
            step("v2", &[], &[], &["Room"]),
        ];
        let objects = [("Room", 3)];
        let steps = with_objects(&Classes::default(), &wanted, &["Room"], &objects).unwrap();
        assert_eq!((steps.objects(), steps.classes.root("Room")), (3, "Room.2"));
        let mut later = steps.classes;
        later.deleted("Room");
        let steps = plan(&later, &wanted, &["Room"]).unwrap();
        assert_eq!(steps.classes.root("Room"), "Room.2");
    }

    #[test]
    fn what_would_lose_objects_is_refused() {
        let rename = step("v2", &[], &[("Room", "Hall")], &[]);
        let new = step("v1", &[], &[], &["Room"]);
        let both = [new.clone(), rename.clone()];
        let applied = plan(&Classes::default(), &both, &["Hall"]).unwrap().classes;
        let refused = |wanted: &[Migration], exported: &[&str]| {
            let refused = plan(&applied, wanted, exported);
            refused.unwrap_err().to_string()
        };
        let told = refused(&both[..1], &["Room"]);
        assert!(
            told.contains("\"v2\" was applied") && told.contains("Hall"),
            "{told}"
        );
        let other = step("v2", &[], &[("Room", "House")], &[]);
        let told = refused(&[new, other], &["House"]);
        assert!(told.contains("is not what was applied"), "{told}");
        let told = refused(&[step("v0", &[], &[], &["X"]), rename], &["Hall"]);
        assert!(told.contains("\"v0\" stands before \"v2\""), "{told}");
        // One that changed nothing may be forgotten.
        assert!(plan(&applied, &both[1..], &["Hall"]).is_ok());
    }

    #[test]
    fn code_and_migrations_must_say_the_same() {
        let none = Classes::default();
        let rename = [step("v1", &[], &[("Room", "Hall")], &[])];
        let told = |result: Result<Steps, ClassError>| result.unwrap_err().to_string();
        let error = told(plan(&none, &rename, &["Room", "Hall"]));
        assert!(error.contains("still has it"), "{error}");
        let error = told(plan(&none, &rename, &["House"]));
        assert!(error.contains("no class `Hall`"), "{error}");
        let error = told(plan(&none, &[step("v1", &["A"], &[], &[])], &["A"]));
        assert!(error.contains("deletes class `A`"), "{error}");
        let objects = [("Room", 1), ("Hall", 2)];
        let error = told(with_objects(&none, &rename, &["Hall"], &objects));
        assert!(error.contains("has 2 objects already"), "{error}");
    }
}
