// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-dht map`: what nodes have published of where they are, drawn.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
use cgeid::{Cn, Network};
use futures::StreamExt as _;
use serde::Deserialize;

use super::flags::{MapFlags, MapFormat};
use super::settings::Settings;
use super::{Failure, Outcome, geojson, output, places, query, values};
use crate::record::Bundle;
use crate::shell::{limits, shelf};

/// What is read of a crawl.
#[derive(Debug, Deserialize)]
struct Crawl {
    /// When it was made, in seconds since 1970; now, if it does not say.
    at: Option<u64>,
    nodes: Vec<Crawled>,
}

#[derive(Debug, Deserialize)]
struct Crawled {
    /// Unknown of a node that never presented itself.
    cn: Option<Cn>,
    /// The bundle in hexadecimal digits, if one was found.
    record: Option<String>,
}

/// What a source is.
enum Source {
    Cgeid(Cn),
    File(String, Crawl),
}

/// Draws a map of the sources.
pub(super) async fn run(settings: Settings, flags: &MapFlags) -> Result<Outcome, Failure> {
    let MapFormat::Geojson = flags.format;
    let network = settings.network()?;
    flags.file.json.check_beside(&flags.sources)?;
    let sources = flags.sources.iter().map(|text| source(text, network)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut nodes = BTreeMap::new();
    let mut cgeids = Vec::new();
    for source in sources {
        match source {
            Source::Cgeid(cn) => cgeids.push(cn),
            Source::File(name, crawl) => read_crawl(network, &crawl, &mut nodes).context(name)?,
        }
    }
    if !cgeids.is_empty() {
        look_up(&settings, network, &cgeids, &mut nodes).await?;
    }
    let drawn = geojson::collection(network, &nodes);
    output::show(&flags.file.json, &drawn, &[drawn.to_string()])?;
    let is_empty = drawn["features"].as_array().is_none_or(Vec::is_empty);
    Ok(if is_empty { Outcome::DidNot } else { Outcome::Held })
}

/// A file that is there is a file.
fn source(text: &str, network: Network) -> anyhow::Result<Source> {
    let path = Path::new(text);
    let (name, read) = if text == "-" {
        ("standard input", read(std::io::stdin().lock()))
    } else if path.exists() {
        (text, std::fs::File::open(path).map_err(Into::into).and_then(read))
    } else {
        return values::cgeid(text, network).map(Source::Cgeid).with_context(|| format!("{text}: no such file"));
    };
    let crawl = read.with_context(|| name.to_owned())?;
    let crawl = serde_json::from_str(&crawl)
        .with_context(|| format!("{name}: not the JSON of a crawl: {{\"nodes\":[{{\"cn\",\"record\"}}]}}"))?;
    Ok(Source::File(name.to_owned(), crawl))
}

fn read(from: impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    from.take(limits::CRAWL_FILE + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > limits::CRAWL_FILE) {
        bail!("longer than the {} octets that are read", limits::CRAWL_FILE);
    }
    Ok(text)
}

/// The records of a crawl that hold.
fn read_crawl(network: Network, crawl: &Crawl, nodes: &mut BTreeMap<Cn, Bundle>) -> anyhow::Result<()> {
    let made = |at| UNIX_EPOCH.checked_add(Duration::from_secs(at)).ok_or_else(|| anyhow!("\"at\": no such time"));
    let now = crawl.at.map(made).transpose()?.unwrap_or_else(SystemTime::now);
    let mut left_out = 0;
    for node in &crawl.nodes {
        let (Some(cn), Some(record)) = (node.cn, &node.record) else { continue };
        match octets(record).and_then(|value| places::hold(network, cn, &[value], now)) {
            Some(bundle) => _ = nodes.insert(cn, bundle),
            None => left_out += 1,
        }
    }
    if left_out > 0 {
        tracing::warn!(left_out, "records without a TOPOLOGY that holds");
    }
    Ok(())
}

/// The records of CGEIDs, from the network.
async fn look_up(
    settings: &Settings,
    network: Network,
    cgeids: &[Cn],
    nodes: &mut BTreeMap<Cn, Bundle>,
) -> Result<(), Failure> {
    let node = shelf::start_node(settings.client()?, network, None)?;
    let read = async |cn| (cn, places::read(&node, network, cn).await);
    let mut reached = true;
    {
        let mut found = pin!(places::several(cgeids, read));
        while let Some((cn, bundle)) = found.next().await {
            nodes.extend(bundle?.map(|bundle| (cn, bundle)));
            reached = query::is_reached(&node);
            if !reached {
                // The other lookups would wait for nobody as well.
                break;
            }
        }
    }
    node.shutdown().await;
    if reached { Ok(()) } else { Err(Failure::NoAnswer(anyhow!(query::NOBODY))) }
}

/// The octets of hexadecimal digits.
fn octets(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = digits
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::octets;

    #[test]
    fn octets_are_pairs_of_digits() {
        assert_eq!(octets("00fFa1"), Some(vec![0, 255, 161]));
        assert_eq!(octets(""), Some(Vec::new()));
        for bad in ["0", "0g", "\u{e4}\u{e4}", "0 "] {
            assert_eq!(octets(bad), None, "{bad}");
        }
    }
}
