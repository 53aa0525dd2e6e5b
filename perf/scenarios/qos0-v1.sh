#!/usr/bin/env bash
# QoS 0 through version 1: single frames in and version 2 out, then single frames in and POLL out.
source "$(dirname "$0")/../lib.sh"
scenario "qos0-v1-in" qos0 --protocol 1:2 --duration "$TIME"
scenario "qos0-v1-both" qos0 --protocol 1 --duration "$TIME"
scenario "qos1-v1-both" qos1 --protocol 1 --duration "$TIME"
