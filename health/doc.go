// Package health watches over running containers: it runs their health checks,
// one daemon for all. What it knows is on disk below the runtime root, so it may
// be killed at any time: the next one finds the containers again.
//
// A check is a further command in the container, as of "exec". That it runs, or
// succeeds, is nothing the journal hears of; that the state of health changes is.
package health
