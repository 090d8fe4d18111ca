//! Content of a cell or a value, kept as the JSON text that JavaScript would write.
//!
//! The text is what is hashed, sent and stored; nobody here looks into it. Numbers
//! are written by JavaScript's rules, strings are escaped by them, and the keys of
//! an object stay in the order in which they came.

use std::fmt::{self, Formatter};

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::encode::quote;
use super::hash::hash_of_leaf;
use super::hlc::Hlc;

/// How `undefined`, the content of what was deleted, is written in JSON.
const UNDEFINED_JSON: &str = "\"\u{fffc}\"";

/// What a cell or a value holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content(Option<Box<str>>);

impl Content {
    /// Deleted.
    pub const UNDEFINED: Self = Self(None);

    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        let mut json = String::with_capacity(text.len() + 2);
        quote(text, &mut json);
        Self(Some(json.into()))
    }

    /// A number; `None` if it is not finite.
    #[must_use]
    pub fn number(number: f64) -> Option<Self> {
        let finite = number.is_finite();
        finite.then(|| Self(Some(ryu_js::Buffer::new().format(number).into())))
    }

    #[must_use]
    pub fn boolean(value: bool) -> Self {
        Self(Some(if value { "true" } else { "false" }.into()))
    }

    #[must_use]
    pub fn is_undefined(&self) -> bool {
        self.0.is_none()
    }

    /// The text as it is sent and stored.
    #[must_use]
    pub fn json(&self) -> &str {
        self.0.as_deref().unwrap_or(UNDEFINED_JSON)
    }

    /// The hash of a leaf with this content and that stamp.
    pub(super) fn hash(&self, hlc: Hlc) -> u32 {
        hash_of_leaf(self.0.as_deref().unwrap_or("null"), hlc.as_str())
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let mut json = String::new();
        Json(&mut json).deserialize(source)?;
        let undefined = json == UNDEFINED_JSON;
        Ok(Self((!undefined).then(|| json.into())))
    }
}

/// Writes any JSON value as it is read.
struct Json<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Json<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Json<'_> {
    type Value = ();

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("the content of a cell")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.push_str("null");
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        if !value.is_finite() {
            return Err(E::invalid_value(Unexpected::Float(value), &self));
        }
        self.0.push_str(ryu_js::Buffer::new().format(value));
        Ok(())
    }

    // JavaScript has no integers: one past 2^53 becomes the nearest float.
    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        quote(value, self.0);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut separator = '[';
        loop {
            self.0.push(separator);
            let length = self.0.len();
            if list.next_element_seed(Json(self.0))?.is_none() {
                close(self.0, length, separator == '[', ']');
                return Ok(());
            }
            separator = ',';
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut separator = '{';
        loop {
            self.0.push(separator);
            let length = self.0.len();
            let Some(key) = map.next_key::<String>()? else {
                close(self.0, length, separator == '{', '}');
                return Ok(());
            };
            quote(&key, self.0);
            self.0.push(':');
            map.next_value_seed(Json(self.0))?;
            separator = ',';
        }
    }
}

/// Ends a list or an object in place of the separator after its last element.
fn close(json: &mut String, length: usize, is_empty: bool, end: char) {
    if !is_empty {
        json.truncate(length - 1);
    }
    json.push(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Content {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn leaves_hash_as_in_javascript() {
        let stamp = Hlc::parse("P6v58AO----mmxrx").unwrap();
        let escapes = r#""é\"\\\n"#.to_owned() + "\u{2028}😀\"";
        let object = "\"\u{fffd}{\\\"a\\\":[1,null,\\\"x\\\"]}\"";
        let vectors = [
            ("3", "3", 1_264_679_475, 2_381_339_368),
            ("1.5", "1.5", 2_411_056_418, 2_735_356_345),
            ("true", "true", 2_591_935_670, 777_134_605),
            ("false", "false", 2_016_092_153, 3_177_411_910),
            ("null", "null", 1_669_800_813, 4_269_541_818),
            (UNDEFINED_JSON, UNDEFINED_JSON, 1_669_800_813, 4_269_541_818),
            (r#""""#, r#""""#, 857_191_574, 1_795_869_357),
            ("-0", "0", 1_864_042_064, 401_433_231),
            ("1e21", "1e+21", 575_567_622, 1_492_969_693),
            ("0.0000001", "1e-7", 1_047_742_896, 1_264_713_903),
            (
                "123456789012345680000",
                "123456789012345680000",
                3_998_362_634,
                834_390_817,
            ),
            (
                "0.30000000000000004",
                "0.30000000000000004",
                3_623_690_389,
                3_304_268_834,
            ),
            ("5e-324", "5e-324", 2_566_474_802, 3_036_260_681),
            (r#""\u0001""#, r#""\u0001""#, 3_553_382_110, 91_322_453),
            (r#""\u007f""#, "\"\u{7f}\"", 1_491_404_205, 3_840_223_354),
            (&escapes, &escapes, 671_242_951, 1_957_259_948),
            (object, object, 2_264_938_068, 1_202_667_363),
        ];
        for (sent, json, stamped, bare) in vectors {
            let content = read(sent);
            assert_eq!(content.json(), json);
            let hashes = (content.hash(stamp), content.hash(Hlc::NONE));
            assert_eq!(hashes, (stamped, bare), "{sent}");
        }
    }

    #[test]
    fn numbers_are_those_of_javascript() {
        for (sent, json) in [
            ("1.0", "1"),
            ("12345678901234567890", "12345678901234567000"),
            ("-9007199254740993", "-9007199254740992"),
            ("1E3", "1000"),
        ] {
            assert_eq!(read(sent).json(), json);
        }
        assert!(serde_json::from_str::<Content>("1e999").is_err());
        assert_eq!(Content::number(f64::NAN), None);
        assert_eq!(Content::number(0.5), Some(read("0.5")));
    }

    #[test]
    fn bare_objects_and_lists_keep_their_order() {
        for json in [
            r#"{"b":1,"a":[true,null,{}],"c":{"d":"\n"}}"#,
            "[]",
            "{}",
            "[[],[1,2]]",
        ] {
            assert_eq!(read(json).json(), json);
        }
        assert_eq!(read(r#"{ "b" : [ 1.0 , 2 ] }"#).json(), r#"{"b":[1,2]}"#);
    }

    #[test]
    fn only_the_whole_text_means_undefined() {
        assert!(read(UNDEFINED_JSON).is_undefined());
        assert!(read(r#""\ufffc""#).is_undefined());
        assert!(!read("\"\u{fffc}\u{fffc}\"").is_undefined());
        assert_eq!(Content::text("a\"b"), read(r#""a\"b""#));
    }
}
