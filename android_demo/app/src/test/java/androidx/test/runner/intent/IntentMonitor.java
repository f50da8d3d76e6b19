package androidx.test.runner.intent;

/** See README.md in androidx/test. */
public interface IntentMonitor {}
