use super::*;

const KEY: BlockKey = BlockKey { object: 1, block: 2 };

#[tokio::test]
async fn one_claims_and_the_others_get_its_bytes() {
    let flights = Flights::default();
    let Claim::Mine(flight) = flights.claim(KEY) else { panic!("first claim") };
    let Claim::Other(first) = flights.claim(KEY) else { panic!("second claim") };
    let Claim::Other(second) = flights.claim(KEY) else { panic!("third claim") };
    flight.land(Bytes::from_static(b"x"));
    assert_eq!(first.landed().await.unwrap(), "x");
    assert_eq!(second.landed().await.unwrap(), "x");
    assert!(matches!(flights.claim(KEY), Claim::Mine(_)));
}

#[tokio::test]
async fn an_abandoned_flight_lets_a_waiter_take_over() {
    let flights = Flights::default();
    let Claim::Mine(flight) = flights.claim(KEY) else { panic!("first claim") };
    let Claim::Other(wait) = flights.claim(KEY) else { panic!("second claim") };
    drop(flight);
    assert!(wait.landed().await.is_none());
    assert!(matches!(flights.claim(KEY), Claim::Mine(_)));
    assert!(flights.lock().is_empty());
}
