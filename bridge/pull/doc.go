// Package pull is what all who take messages off a stream have in common: how long a pull waits, how a consumer that has gone
// is made anew, and how the messages in hand are kept from being taken for lost.
//
// It owns no subject and no consumer.
package pull
