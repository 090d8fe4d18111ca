//! Writing stores and parts of them as JSON, in one of two forms.
//!
//! On the wire a stamped thing is `[thing]` or `[thing, hlc]`; in a database
//! `[thing, hlc, hash]`, with an empty text where there is no stamp.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::hash::Hash;
use super::store::{Leaf, Node, Store};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Wire,
    Stored,
}

/// A thing that can be written in either form.
pub(crate) trait Encode {
    fn encode(&self, form: Form, json: &mut String);
}

/// The JSON text of a thing.
pub(crate) fn encode(thing: &impl Encode, form: Form) -> String {
    let mut json = String::new();
    thing.encode(form, &mut json);
    json
}

impl Encode for Leaf {
    fn encode(&self, form: Form, json: &mut String) {
        json.push('[');
        json.push_str(self.content.json());
        end_stamp(self.hlc.as_str(), self.hash, form, json);
    }
}

impl<C: Encode> Encode for Node<C> {
    fn encode(&self, form: Form, json: &mut String) {
        json.push('[');
        self.children.encode(form, json);
        end_stamp(self.hlc.as_str(), self.hash, form, json);
    }
}

fn end_stamp(hlc: &str, hash: u32, form: Form, json: &mut String) {
    if form == Form::Stored || !hlc.is_empty() {
        json.push_str(",\"");
        json.push_str(hlc);
        json.push('"');
    }
    if form == Form::Stored {
        json.push(',');
        Hash(hash).encode(form, json);
    }
    json.push(']');
}

impl<E: Encode> Encode for BTreeMap<String, E> {
    fn encode(&self, form: Form, json: &mut String) {
        json.push('{');
        for (index, (id, value)) in self.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            quote(id, json);
            json.push(':');
            value.encode(form, json);
        }
        json.push('}');
    }
}

impl<A: Encode, B: Encode> Encode for (A, B) {
    fn encode(&self, form: Form, json: &mut String) {
        json.push('[');
        self.0.encode(form, json);
        json.push(',');
        self.1.encode(form, json);
        json.push(']');
    }
}

/// On the wire it is marked as changes.
impl Encode for Store {
    fn encode(&self, form: Form, json: &mut String) {
        json.push('[');
        self.tables.encode(form, json);
        json.push(',');
        self.values.encode(form, json);
        json.push_str(match form {
            Form::Wire => ",1]",
            Form::Stored => "]",
        });
    }
}

impl Encode for Hash {
    fn encode(&self, _form: Form, json: &mut String) {
        // Writing to a string does not fail.
        let _ = write!(json, "{}", self.0);
    }
}

/// The empty text.
impl Encode for () {
    fn encode(&self, _form: Form, json: &mut String) {
        json.push_str("\"\"");
    }
}

/// Appends a text as a JSON string, escaped as JavaScript does it.
pub(crate) fn quote(text: &str, json: &mut String) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        json.push('"');
        json.push_str(text);
        json.push('"');
    } else {
        let quoted = serde_json::to_string(text);
        json.push_str(&quoted.expect("a text becomes JSON"));
    }
}
