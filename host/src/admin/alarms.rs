//! Alarms: what is to come, what was given up, and trying it again. Wakes nobody.

use super::api::{Alarm, DeadLetter, Retry};
use super::extract::{In, Json, Operate, Path, Read};
use super::objects::Place;
use super::refusal::Refusal;
use crate::alarm::Address;
use crate::host::Handle;
use crate::server::Problem;

/// Alarms and dead letters of one object.
#[utoipa::path(get, path = "/v1/apps/{app}/objects/{class}/{object}/alarms", tag = "alarms",
    params(("app" = String, Path), ("class" = String, Path), ("object" = String, Path)),
    responses((status = OK, body = Vec<Alarm>), (status = "4XX", body = Problem)))]
pub(super) async fn list(
    at: In<Read>,
    Path(place): Path<Place>,
) -> Result<Json<Vec<Alarm>>, Refusal> {
    let Place { class, object } = place;
    let address = at.app.address(&class, &object)?;
    Ok(Json(of(&at.app, &address, &object).await?))
}

/// Dead letters of all objects; 1,000 objects at most.
#[utoipa::path(get, path = "/v1/apps/{app}/dead-letters", tag = "alarms",
    params(("app" = String, Path)),
    responses((status = OK, body = Vec<Alarm>), (status = "4XX", body = Problem)))]
pub(super) async fn list_all(at: In<Read>) -> Result<Json<Vec<Alarm>>, Refusal> {
    let mut alarms = Vec::new();
    for address in at.app.dead_letters().into_iter().take(1_000) {
        let key = format!("id:{}", address.id);
        let found = of(&at.app, &address, &key).await?;
        alarms.extend(found.into_iter().filter(|alarm| alarm.dead.is_some()));
    }
    Ok(Json(alarms))
}

/// Runs a dead letter again, now. Answers with the object's alarms as they are then.
#[utoipa::path(post, path = "/v1/apps/{app}/objects/{class}/{object}/alarms/retry", tag = "alarms",
    params(("app" = String, Path), ("class" = String, Path), ("object" = String, Path)),
    request_body = Retry,
    responses((status = OK, body = Vec<Alarm>), (status = "4XX", body = Problem)))]
pub(super) async fn retry(
    at: In<Operate>,
    Path(place): Path<Place>,
    Json(retry): Json<Retry>,
) -> Result<Json<Vec<Alarm>>, Refusal> {
    let Place { class, object } = place;
    let address = at.app.address(&class, &object)?;
    let before = of(&at.app, &address, &object).await?;
    let is_dead = |alarm: &Alarm| alarm.name == retry.alarm && alarm.dead.is_some();
    if !before.iter().any(is_dead) {
        return Err(Refusal::not_found(format!(
            "{class}/{object} has no dead letter of the alarm {:?}",
            retry.alarm
        )));
    }
    let alarms = at.app.revive_alarm(&address, &retry.alarm).await;
    let alarms = alarms.map_err(|error| Refusal::failed(&error))?;
    Ok(Json(describe(alarms, &class, &object)))
}

/// Runs an alarm now, instead of at its time. Answers with the object's alarms as they are
/// then.
#[utoipa::path(post, path = "/v1/apps/{app}/objects/{class}/{object}/alarms/run", tag = "alarms",
    params(("app" = String, Path), ("class" = String, Path), ("object" = String, Path)),
    request_body = Retry,
    responses((status = OK, body = Vec<Alarm>), (status = "4XX", body = Problem)))]
pub(super) async fn run(
    at: In<Operate>,
    Path(place): Path<Place>,
    Json(wish): Json<Retry>,
) -> Result<Json<Vec<Alarm>>, Refusal> {
    let Place { class, object } = place;
    let address = at.app.address(&class, &object)?;
    let before = of(&at.app, &address, &object).await?;
    let is_to_come = |alarm: &Alarm| alarm.name == wish.alarm && alarm.due_ms.is_some();
    if !before.iter().any(is_to_come) {
        return Err(Refusal::not_found(format!(
            "{class}/{object} has no alarm {:?} to come",
            wish.alarm
        )));
    }
    let alarms = at.app.hasten_alarm(&address, &wish.alarm).await;
    let alarms = alarms.map_err(|error| Refusal::failed(&error))?;
    Ok(Json(describe(alarms, &class, &object)))
}

pub(super) async fn of(app: &Handle, address: &Address, key: &str) -> Result<Vec<Alarm>, Refusal> {
    let alarms = app.alarms(address).await;
    let alarms = alarms.map_err(|error| Refusal::failed(&error))?;
    Ok(describe(alarms, &app.class_name(&address.class), key))
}

fn describe(alarms: Vec<dormouse_storage::Alarm>, class: &str, key: &str) -> Vec<Alarm> {
    let describe = |alarm: dormouse_storage::Alarm| {
        let (cron, zone) = alarm.cron.map(|cron| (cron.expression, cron.zone)).unzip();
        Alarm {
            class: class.to_owned(),
            object: key.to_owned(),
            name: alarm.name,
            scheduled_ms: alarm.scheduled_ms,
            due_ms: alarm.due_ms,
            retries: alarm.retries,
            cron,
            zone,
            dead: alarm.dead.map(|dead| DeadLetter {
                scheduled_ms: dead.scheduled_ms,
                error: dead.error,
            }),
        }
    };
    alarms.into_iter().map(describe).collect()
}
