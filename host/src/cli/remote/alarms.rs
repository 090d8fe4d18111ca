//! `dormouse alarms`.

use super::args::Alarms;
use super::client::{Client, Named};
use super::show;
use crate::admin::api::{Alarm, Retry};

pub(super) async fn run(args: Alarms) -> anyhow::Result<()> {
    let client = Client::new(&args.reach)?;
    let object = args.object.as_deref().map(Named::parse).transpose()?;
    let retry = args.retry.map(|alarm| ("retry", alarm));
    let action = retry.or(args.run.map(|alarm| ("run", alarm)));
    let alarms: Vec<Alarm> = match (object, action) {
        (Some(object), Some((action, alarm))) => {
            let path = format!("{}/alarms/{action}", object.path());
            let path = client.in_app(&path).await?;
            client.post(&path, &Retry { alarm }).await?
        }
        (Some(object), None) => {
            let path = client.in_app(&format!("{}/alarms", object.path())).await?;
            client.get(&path).await?
        }
        (None, _) => client.get(&client.in_app("/dead-letters").await?).await?,
    };
    if args.reach.json {
        return show::json(&alarms);
    }
    show(&alarms);
    Ok(())
}

pub(super) fn show(alarms: &[Alarm]) {
    let rows = alarms.iter().map(|alarm| {
        let name = if alarm.name.is_empty() {
            "(default)"
        } else {
            &alarm.name
        };
        let dead = alarm.dead.as_ref();
        [
            format!("{}/{}", alarm.class, show::clean(&alarm.object)),
            show::clean(name),
            show::time(alarm.due_ms),
            alarm.retries.to_string(),
            alarm.cron.clone().unwrap_or_else(|| "-".to_owned()),
            dead.map_or_else(
                || "-".to_owned(),
                |dead| {
                    format!(
                        "{}: {}",
                        show::time(Some(dead.scheduled_ms)),
                        show::clean(&dead.error)
                    )
                },
            ),
        ]
    });
    show::table(
        [
            "OBJECT",
            "ALARM",
            "DUE",
            "RETRIES",
            "SCHEDULE",
            "DEAD LETTER",
        ],
        rows,
    );
}
