//! The page itself.

use super::plan::Plan;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("../view/page.css");
const OWN: &str = include_str!("sampler.css");

/// Scripts, the model and the runtime come from where the page is, and nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; img-src 'self' data:; \
                      style-src 'unsafe-inline'";

/// The page of a plan; `lead` says in a sentence what the model is, `made` of what the page is made.
pub fn html(plan: &Plan, title: &str, lead: &str, made: &str) -> anyhow::Result<String> {
    // Inside a script element only its end would be read as HTML.
    let json = serde_json::to_string(plan)?.replace('<', "\\u003c");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "fewstep " (env!("CARGO_PKG_VERSION")) };
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(OWN)) }
            }
            body {
                main {
                    header { h1 { (title) } p.lead { (lead) } }
                    noscript { p { "This page computes pictures in your browser, for which it needs JavaScript." } }
                    (form(plan))
                    p #status role="status" aria-live="polite" { "" }
                    div.pictures { @for picture in &plan.pictures { (figure(plan, picture.title)) } }
                    footer {
                        p { "The pictures are computed in this browser by the network itself; nothing is sent anywhere." }
                        p { "Made by fewstep " (env!("CARGO_PKG_VERSION")) ", with " (made) " (MIT licence)." }
                    }
                }
                script #model type="application/json" { (PreEscaped(json)) }
                script src="sampler.js" {}
            }
        }
    };
    Ok(page.into_string())
}

fn form(plan: &Plan) -> Markup {
    html! { form #form { fieldset disabled {
        @if plan.classes > 0 { div {
            label for="class" { "Class" }
            select #class {
                option value="" { "drawn by the seed" }
                @for class in 0..plan.classes {
                    option value=(class) { @match plan.names.get(class) { Some(name) => (name), None => { "class " (class) } } }
                }
            }
        } }
        div {
            label for="seed" { "Seed" }
            input #seed type="text" inputmode="numeric" autocomplete="off" value="0";
        }
        div {
            button type="button" data-by="-1" aria-label="Previous seed" { "\u{2190}" } " "
            button type="button" data-by="1" aria-label="Next seed" { "\u{2192}" } " "
            button type="button" data-by="any" { "Another" }
        }
        fieldset.calls hidden[plan.calls.len() < 2] {
            legend { "Network calls" }
            @for count in &plan.calls { span {
                input type="radio" name="calls" id={ "calls-" (count) } value=(count) checked[*count == plan.chosen];
                label for={ "calls-" (count) } { (count) }
            } }
        }
    } } }
}

fn figure(plan: &Plan, title: &str) -> Markup {
    let [_, height, width] = plan.shape;
    html! { figure data-picture {
        canvas width=(width) height=(height) role="img" aria-label={ (title) ", not drawn yet" } {}
        figcaption { b { (title) } output {} " " a download href="data:," { "Save" } }
    } }
}
