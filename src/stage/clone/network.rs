//! The table `network` of a `clone`: how the host reaches its machines. Checked here as far as
//! arithmetic goes; `kuth network` acts on it.

use std::fmt::Display;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::host_network::{Cidr, Part, Plan};
use crate::pipeline::{Fault, Fields, Span, Text};

/// Reads the table, if there is one.
pub(super) fn read(fields: &mut Fields<'_>) -> Option<Plan> {
    let mut table = fields.table("network")?;
    let host = table.required_text("host");
    let gateway = table.text("gateway");
    let routes = table.unique_texts("routes");
    let domain = table.text("domain");
    if !routes.is_empty() {
        table.require("gateway");
    }
    let span = |text: &Option<Text>| text.as_ref().map(|text| text.span.clone());
    let spans = (span(&host), span(&gateway), span(&domain));
    let host = host.and_then(|text| parse::<Cidr>(&table, text));
    let wanted = gateway.is_some();
    let gateway = gateway.and_then(|text| parse_address(&table, text));
    let routes: Vec<(Span, Option<Cidr>)> =
        routes.into_iter().map(|text| (text.span.clone(), parse(&table, text))).collect();
    let sound = routes.iter().all(|(_, route)| route.is_some()) && (gateway.is_some() || !wanted);
    let plan = host.filter(|_| sound).map(|host| Plan {
        host,
        gateway,
        routes: routes.iter().filter_map(|(_, route)| *route).collect(),
        domain: domain.map(|domain| domain.text),
    });
    for wrong in plan.iter().flat_map(Plan::faults) {
        let span = match wrong.part {
            Part::Host => spans.0.clone(),
            Part::Gateway => spans.1.clone(),
            Part::Domain => spans.2.clone(),
            Part::Route(at) => routes.get(at).map(|(span, _)| span.clone()),
        };
        let span = span.unwrap_or_else(|| table.span());
        table.fault(Fault::new(span, wrong.message).hint(wrong.hint));
    }
    table.finish();
    plan
}

fn parse<T: FromStr>(table: &Fields<'_>, text: Text) -> Option<T>
where
    T::Err: Display,
{
    match text.text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            let message = format!("{} is not an address with a prefix length", text.shown());
            table.fault(Fault::new(text.span, message).hint(T::Err::to_string(&error)));
            None
        }
    }
}

fn parse_address(table: &Fields<'_>, text: Text) -> Option<Ipv4Addr> {
    let found = text.text.parse().ok();
    if found.is_none() {
        let message = format!("{} is not an IPv4 address", text.shown());
        table.fault(Fault::new(text.span, message).hint("as in \"192.168.254.254\""));
    }
    found
}
