package androidx.test.runner.intent;

/** See README.md in androidx/test. */
public interface IntentStubber {
    android.app.Instrumentation.ActivityResult getActivityResultForIntent(android.content.Intent intent);
}
