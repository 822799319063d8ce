//! The shape of the whole file: `hosts`, `groups` and `defaults`, read into layers.

use std::collections::BTreeMap;

use jsonc_parser::ast::{Array, Object, Value};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::fields::{Fields, Layer, is_literal_key, read_name};
use super::names::{HostName, nearest, word};
use super::problem::{Level, Problem, join};
use super::route;
use super::values::Reader;

/// The file as written, checked but with its layers still apart.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) hosts: Vec<(HostName, Fields)>,
    pub(super) groups: BTreeMap<String, Fields>,
    pub(super) defaults: Fields,
}

const TOP_KEYS: [&str; 3] = ["hosts", "groups", "defaults"];

/// Reads `text`. Returns the layout with warnings, or everything that is wrong.
pub(super) fn read(text: &str) -> Result<(Layout, Vec<Problem>), Vec<Problem>> {
    let mut reader = Reader::new(text);
    let layout = match parse(text, &mut reader) {
        Some(value) => read_top(&mut reader, &value),
        None => Layout::default(),
    };
    let problems = reader.into_problems();
    if problems.iter().any(|problem| problem.level == Level::Error) {
        Err(problems)
    } else {
        Ok((layout, problems))
    }
}

fn parse<'t>(text: &'t str, reader: &mut Reader<'_>) -> Option<Value<'t>> {
    let strict = ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
    };
    let value = match parse_to_ast(text, &CollectOptions::default(), &strict) {
        Ok(parsed) => parsed.value,
        Err(error) => {
            reader.error_at(error.range().start, format!("not JSON: {}", error.kind()));
            return None;
        }
    };
    // A second opinion: other readers of this file are stricter in corners, such as raw control
    // characters in strings.
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        let line_start = text
            .split_inclusive('\n')
            .take(error.line().saturating_sub(1))
            .map(str::len)
            .sum::<usize>();
        let offset = line_start + error.column().saturating_sub(1);
        let why = error.to_string();
        let why = why.split(" at line ").next().unwrap_or_default();
        reader.error_at(offset.min(text.len()), format!("not JSON: {why}"));
        return None;
    }
    value
}

fn read_top(reader: &mut Reader<'_>, value: &Value<'_>) -> Layout {
    let mut layout = Layout::default();
    refuse_literal_keys(reader, value, "");
    let Some(top) = reader.object(value, "") else {
        return layout;
    };
    let mut hosts = None;
    for (name, value, at) in reader.members(top, "") {
        match name {
            "hosts" => hosts = Some((value, at)),
            "groups" => layout.groups = read_groups(reader, value, &at),
            "defaults" => {
                if let Some(object) = reader.object(value, &at) {
                    layout.defaults = Fields::read(reader, object, &at, Layer::Defaults);
                }
            }
            "$schema" => {}
            unknown if is_literal_key(unknown) => {}
            unknown => reader.unknown_key(unknown, value, &at, &TOP_KEYS),
        }
    }
    match hosts {
        Some((value, at)) => read_hosts(reader, value, &at, &mut layout),
        None => reader.error(value, "", "`hosts` is missing: a list of hosts"),
    }
    layout
}

fn read_groups(reader: &mut Reader<'_>, value: &Value<'_>, at: &str) -> BTreeMap<String, Fields> {
    let mut groups = BTreeMap::new();
    let Some(object) = reader.object(value, at) else {
        return groups;
    };
    for (name, value, at) in reader.members(object, at) {
        if is_literal_key(name) {
            continue;
        }
        if let Err(why) = word(name) {
            reader.error(
                value,
                &at,
                format!("group `{}`: {why}", name.escape_debug()),
            );
        }
        if let Some(object) = reader.object(value, &at) {
            let fields = Fields::read(reader, object, &at, Layer::Group);
            groups.insert(name.to_owned(), fields);
        }
    }
    groups
}

fn read_hosts(reader: &mut Reader<'_>, value: &Value<'_>, at: &str, layout: &mut Layout) {
    let Some(array) = value.as_array() else {
        reader.wrong_type(value, at, "a list of hosts");
        return;
    };
    let mut places: BTreeMap<HostName, String> = BTreeMap::new();
    for (index, value) in array.elements.iter().enumerate() {
        let at = join(at, &index.to_string());
        let Some(object) = reader.object(value, &at) else {
            continue;
        };
        let fields = Fields::read(reader, object, &at, Layer::Host);
        check_address(reader, object, &at, &fields, layout);
        check_groups(reader, object, &at, layout);
        let Some(named) = member(object, "name") else {
            reader.error(object, &at, "`name` is missing");
            continue;
        };
        let name_at = join(&at, "name");
        let Some(name) = read_name(reader, named, &name_at) else {
            continue;
        };
        if let Some(first) = places.get(&name) {
            let message = format!("the name `{name}` is already taken by {first}");
            reader.error(named, &name_at, message);
            continue;
        }
        places.insert(name.clone(), at);
        layout.hosts.push((name, fields));
    }
    check_jumps(reader, array, &places, layout);
}

/// Refuses hosts that lead through one another in a circle.
fn check_jumps(
    reader: &mut Reader<'_>,
    array: &Array<'_>,
    places: &BTreeMap<HostName, String>,
    layout: &Layout,
) {
    for (name, at) in places {
        let Some(way) = circle(name.as_str(), layout) else {
            continue;
        };
        let index = at.rsplit('/').next().and_then(|index| index.parse().ok());
        let Some(value) = index.and_then(|index: usize| array.elements.get(index)) else {
            continue;
        };
        let message = format!("its jump hosts lead in a circle: {}", way.join(" → "));
        reader.error(value, at, message);
    }
}

/// Returns the way from `name` through jump hosts back to `name`, if there is one.
fn circle(name: &str, layout: &Layout) -> Option<Vec<String>> {
    let mut ways = vec![vec![name.to_owned()]];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(way) = ways.pop() {
        let last = way.last().map(String::as_str).unwrap_or_default();
        for hop in jumps_of(last, layout) {
            // A `jump` of the defaults names the jump host for itself too; it goes straight then.
            if hop == last {
                continue;
            }
            let mut longer = way.clone();
            longer.push(hop.to_owned());
            if hop == name {
                return Some(longer);
            }
            if seen.insert(hop.to_owned()) {
                ways.push(longer);
            }
        }
    }
    None
}

fn jumps_of<'l>(name: &str, layout: &'l Layout) -> impl Iterator<Item = &'l str> {
    let own = layout
        .hosts
        .iter()
        .find(|(known, _)| known.as_str() == name);
    let list = own.and_then(|(_, own)| {
        let member_of = own.groups.as_ref().or(layout.defaults.groups.as_ref());
        let groups = member_of.into_iter().flatten();
        let groups = groups.filter_map(|group| layout.groups.get(group));
        let mut layers = std::iter::once(own).chain(groups).chain([&layout.defaults]);
        layers.find_map(|layer| layer.jump.as_deref())
    });
    list.into_iter().flat_map(route::names)
}

fn check_address(
    reader: &mut Reader<'_>,
    object: &Object<'_>,
    at: &str,
    fields: &Fields,
    layout: &Layout,
) {
    // Given but wrong was reported where it stands.
    let given = member(object, "host").is_some() || member(object, "via").is_some();
    let inherited = std::iter::once(&layout.defaults)
        .chain(
            fields
                .groups
                .as_ref()
                .or(layout.defaults.groups.as_ref())
                .into_iter()
                .flatten()
                .filter_map(|group| layout.groups.get(group)),
        )
        .any(|layer| layer.host.is_some() || layer.via.is_some());
    if !given && !inherited {
        reader.error(
            object,
            at,
            "`host` is missing: an address, or an alias of your SSH configuration",
        );
    }
}

/// A group need not be defined, since it may only serve to select; but a near miss is suspicious.
fn check_groups(reader: &mut Reader<'_>, object: &Object<'_>, at: &str, layout: &Layout) {
    let Some(list) = member(object, "groups").and_then(Value::as_array) else {
        return;
    };
    let at = join(at, "groups");
    for (index, value) in list.elements.iter().enumerate() {
        let Some(name) = value.as_string_lit() else {
            continue;
        };
        if layout.groups.contains_key(name.value.as_ref()) {
            continue;
        }
        if let Some(meant) = nearest(&name.value, layout.groups.keys().map(String::as_str)) {
            reader.warning(
                value,
                &join(&at, &index.to_string()),
                format!("the group `{}` is not defined", name.value.escape_debug()),
                Some(format!("did you mean `{meant}`?")),
            );
        }
    }
}

/// Refuses keys that hold an API key, wherever they are: the file is shared, copied and committed.
fn refuse_literal_keys(reader: &mut Reader<'_>, value: &Value<'_>, at: &str) {
    match value {
        Value::Object(object) => {
            for property in &object.properties {
                let name = property.name.as_str();
                let at = join(at, name);
                if is_literal_key(name) {
                    reader.error_with(
                        property,
                        &at,
                        format!("`{}`: an API key must not be in this file", name.escape_debug()),
                        Some(
                            "say where it comes from: api_key_env (a variable), api_key_file (a file) or api_key_cmd (a command)"
                                .to_owned(),
                        ),
                    );
                }
                refuse_literal_keys(reader, &property.value, &at);
            }
        }
        Value::Array(array) => {
            for (index, value) in array.elements.iter().enumerate() {
                refuse_literal_keys(reader, value, &join(at, &index.to_string()));
            }
        }
        Value::StringLit(_)
        | Value::NumberLit(_)
        | Value::BooleanLit(_)
        | Value::NullKeyword(_) => {}
    }
}

fn member<'o, 'a>(object: &'o Object<'a>, name: &str) -> Option<&'o Value<'a>> {
    object
        .properties
        .iter()
        .find(|property| property.name.as_str() == name)
        .map(|property| &property.value)
}
