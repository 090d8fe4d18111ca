//! What the catalog promises, on a folder of its own.

use super::*;

fn new(component: &[u8]) -> NewVersion {
    NewVersion {
        app: "a".to_owned(),
        manifest: String::new(),
        parts: Parts {
            component: digest(component),
            ..Parts::default()
        },
        by: "test".to_owned(),
        note: String::new(),
    }
}

fn add(catalog: &Catalog, component: &[u8]) -> Result<Version, Error> {
    catalog.add(new(component), Vec::new(), Classes::default(), 0)
}

fn filled(data: &Path) -> Catalog {
    let catalog = Catalog::open(data).unwrap();
    for component in [&b"one"[..], b"two", b"three"] {
        catalog.put_blob(&digest(component), component).unwrap();
        add(&catalog, component).unwrap();
    }
    catalog
}

#[test]
fn versions_are_there_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    filled(data.path())
        .set_current(2, Classes::default())
        .unwrap();
    let catalog = Catalog::open(data.path()).unwrap();
    let numbers: Vec<u64> = catalog.versions().iter().map(|one| one.number).collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert_eq!(catalog.current().unwrap().number, 2);
    assert_eq!(catalog.earlier().unwrap().number, 1);
    let app = catalog.app(&catalog.version(2).unwrap()).unwrap();
    assert_eq!(fs::read(app.component).unwrap(), b"two");
}

#[test]
fn pruning_keeps_the_newest_and_the_current() {
    let data = tempfile::tempdir().unwrap();
    let catalog = filled(data.path());
    catalog.set_current(1, Classes::default()).unwrap();
    let pruned = catalog.prune(1).unwrap();
    assert_eq!((pruned.versions, pruned.bytes), (vec![2], 3));
    assert!(catalog.blob(&digest(b"two")).is_err());
    assert!(catalog.blob(&digest(b"one")).is_ok());
    // Numbers are not used again.
    catalog.put_blob(&digest(b"four"), b"four").unwrap();
    assert_eq!(add(&catalog, b"four").unwrap().number, 4);
}

#[test]
fn bytes_that_are_not_what_they_are_called_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(data.path()).unwrap();
    let wrong = catalog.put_blob(&digest(b"other"), b"bytes");
    assert!(matches!(wrong, Err(Error::WrongDigest { .. })), "{wrong:?}");
    assert!(catalog.blob("../catalog.json").is_err());
    let unknown = add(&catalog, b"never sent");
    assert!(matches!(unknown, Err(Error::NoBlob { .. })), "{unknown:?}");
}

#[test]
fn what_the_command_line_names_counts_when_it_is_new() {
    let data = tempfile::tempdir().unwrap();
    let catalog = filled(data.path());
    let app = |named: &[u8]| {
        let component = data.path().join(digest(named));
        fs::write(&component, named).unwrap();
        App {
            manifest: Manifest::named("a"),
            component,
            worker: None,
        }
    };
    let choose = |named: &[u8]| {
        let app = app(named);
        let parcel = Parcel::of(&app).unwrap();
        crate::deploy::choose(&catalog, Some((app, new(named), parcel)))
    };
    let first = choose(b"built").unwrap();
    assert!(first.new.is_some() && first.app.component.starts_with(data.path()));
    let parcel = Parcel::of(&first.app).unwrap();
    assert_eq!(parcel.parts, new(b"built").parts);
    catalog
        .add_seed(new(b"built"), &parcel, Vec::new(), 0)
        .unwrap();
    // Deployed since then: a restart with the same words keeps it.
    catalog.set_current(2, Classes::default()).unwrap();
    let again = choose(b"built").unwrap();
    assert!(again.new.is_none() && again.app.component.ends_with(digest(b"two")));
    assert!(choose(b"rebuilt").unwrap().new.is_some());
}

#[test]
fn a_list_of_the_first_format_is_read() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join(FOLDER);
    fs::create_dir_all(folder.join("blobs")).unwrap();
    fs::write(folder.join("blobs").join(digest(b"one")), b"one").unwrap();
    let component = digest(b"one");
    let list = serde_json::json!({
        "format": 1, "next": 2, "current": 1, "seed": null,
        "versions": [{
            "number": 1, "app": "a", "manifest": "", "component": component, "bytes": 3,
            "classes": ["Room"], "created_ms": 7, "by": "me", "note": "old"
        }]
    });
    fs::write(folder.join(LIST), list.to_string()).unwrap();
    let catalog = Catalog::open(data.path()).unwrap();
    let version = catalog.current().unwrap();
    assert_eq!((version.number, &version.parts), (1, &new(b"one").parts));
    assert!(catalog.app(&version).is_ok());
    catalog.put_blob(&digest(b"two"), b"two").unwrap();
    assert_eq!(add(&catalog, b"two").unwrap().number, 2);
    let again = Catalog::open(data.path()).unwrap();
    assert_eq!(again.version(1).unwrap(), version);
}

#[test]
fn a_version_has_everything_that_its_manifest_names() {
    let data = tempfile::tempdir().unwrap();
    let site = data.path().join("site");
    fs::create_dir_all(site.join("img")).unwrap();
    for (name, text) in [
        ("index.html", "page"),
        ("img/a.svg", "svg"),
        (".env", "secret"),
    ] {
        fs::write(site.join(name), text).unwrap();
    }
    fs::write(data.path().join("app.wasm"), "app").unwrap();
    fs::write(data.path().join("front.wasm"), "front").unwrap();
    fs::write(data.path().join("ca.pem"), "ca").unwrap();
    let text = "assets.folder = 'site'\nworker.component = 'front.wasm'\noutgoing.ca = 'ca.pem'\n";
    let mut manifest = read_manifest(text, "a").unwrap();
    manifest.assets = Some(site.clone());
    manifest.outgoing.ca = Some(data.path().join("ca.pem"));
    let parcel = Parcel::of(&App {
        manifest,
        component: data.path().join("app.wasm"),
        worker: Some(data.path().join("front.wasm")),
    });
    let parcel = parcel.unwrap();
    let new = NewVersion {
        manifest: text.to_owned(),
        parts: parcel.parts.clone(),
        ..new(b"app")
    };
    let catalog = Catalog::open(data.path()).unwrap();
    assert!(catalog.assemble("a", text, &new.parts).is_err());
    let version = catalog.add_seed(new, &parcel, Vec::new(), 0).unwrap();
    assert_eq!((version.asset_files, version.asset_bytes), (2, 7));
    fs::remove_dir_all(site).unwrap();

    let app = catalog.app(&version).unwrap();
    let assets = app.manifest.assets.unwrap();
    assert_eq!(fs::read(assets.join("img/a.svg")).unwrap(), b"svg");
    assert!(!assets.join(".env").exists());
    assert_eq!(fs::read(app.worker.unwrap()).unwrap(), b"front");
    assert_eq!(fs::read(app.manifest.outgoing.ca.unwrap()).unwrap(), b"ca");
    assert_eq!(catalog.prune(1).unwrap().bytes, 0);
    let bare = Parts {
        assets: None,
        ..version.parts
    };
    let refused = catalog.assemble("a", text, &bare).unwrap_err().to_string();
    assert!(refused.contains("`assets.folder`"), "{refused}");
}
