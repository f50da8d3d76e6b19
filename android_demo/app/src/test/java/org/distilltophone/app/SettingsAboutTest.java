package org.distilltophone.app;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import android.widget.RadioGroup;
import android.widget.SeekBar;
import android.widget.TextView;
import java.util.ArrayList;
import java.util.List;
import org.distilltophone.core.Bundle;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.Robolectric;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.annotation.Config;
import org.robolectric.annotation.GraphicsMode;

/** The pages Settings and About. */
@RunWith(RobolectricTestRunner.class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(sdk = 35, qualifiers = "w360dp-h760dp-xhdpi")
public class SettingsAboutTest {
    @Test
    public void settings_are_kept() throws Exception {
        ActivityController<SettingsActivity> controller = Robolectric.buildActivity(SettingsActivity.class).setup();
        SettingsActivity activity = controller.get();
        assertEquals(Settings.XNNPACK, Settings.read(activity).delegate);
        ((RadioGroup) activity.findViewById(R.id.delegate)).check(R.id.delegate_plain);
        ((SeekBar) activity.findViewById(R.id.threads)).setProgress(3);
        ((SeekBar) activity.findViewById(R.id.results)).setProgress(0);
        assertEquals(activity.getString(R.string.settings_threads, 4), Screen.text(activity, R.id.threads_label));
        Screen.shoot(activity, "settings-light");
        controller.recreate();
        Settings kept = Settings.read(controller.get());
        assertEquals(Settings.PLAIN, kept.delegate);
        assertEquals(4, kept.threads);
        assertEquals(Settings.MIN_RESULTS, kept.results);
        assertEquals(R.id.delegate_plain, ((RadioGroup) controller.get().findViewById(R.id.delegate)).getCheckedRadioButtonId());
        assertEquals(activity.getString(R.string.settings_threads, 4), Screen.text(controller.get(), R.id.threads_label));
    }

    @Test
    public void damaged_settings_are_mended() {
        Settings.preferences(RuntimeEnvironment.getApplication()).edit()
            .putString("delegate", "warp").putInt("threads", -3).putInt("results", 1 << 30).commit();
        Settings read = Settings.read(RuntimeEnvironment.getApplication());
        assertEquals(Settings.XNNPACK, read.delegate);
        assertEquals(1, read.threads);
        assertEquals(Settings.MAX_RESULTS, read.results);
    }

    private static List<String> texts(AboutActivity activity) {
        List<String> all = new ArrayList<>();
        Screen.each(activity.findViewById(android.R.id.content), view -> {
            if (view instanceof TextView) {
                all.add(((TextView) view).getText().toString());
            }
        });
        return all;
    }

    @Test
    public void about_tells_where_the_model_comes_from() throws Exception {
        Fixture.load();
        AboutActivity activity = Robolectric.buildActivity(AboutActivity.class).setup().get();
        Bundle bundle = AppModel.bundle(activity);
        List<String> texts = texts(activity);
        assertTrue(texts.contains(bundle.variant().sha256));
        assertTrue(texts.contains(bundle.provenance().get("source.id")));
        assertTrue(texts.containsAll(bundle.provenance().keySet()));
        assertTrue(Screen.text(activity, R.id.licences).contains("Apache License 2.0"));
    }

    @Test
    public void the_model_is_checked_on_the_phone() throws Exception {
        Fixture.load();
        ActivityController<AboutActivity> controller = Robolectric.buildActivity(AboutActivity.class).setup();
        Screen.touch(controller.get(), R.id.run_check);
        controller.recreate();
        Screen.await("verdict", () -> Screen.text(controller.get(), R.id.check).startsWith("Passed: "));
        int all = AppModel.bundle(controller.get()).goldenPixels().length;
        String inputs = controller.get().getString(R.string.about_check_inputs, all, all);
        assertTrue(Screen.text(controller.get(), R.id.check).contains(inputs));
        Screen.shoot(controller.get(), "about-light");
        controller.recreate();
        assertTrue(Screen.text(controller.get(), R.id.check).startsWith("Passed: "));
    }

    @Test
    public void a_model_that_gives_other_embeddings_fails_the_check() throws Exception {
        Fixture.load();
        JvmEngines real = new JvmEngines();
        DemoApp.engines = (bundle, how) -> new Altered(real.open(bundle, how));
        AboutActivity activity = Robolectric.buildActivity(AboutActivity.class).setup().get();
        Screen.touch(activity, R.id.run_check);
        Screen.await("verdict", () -> Screen.text(activity, R.id.check).startsWith("Failed: "));
    }

    @Test
    public void an_engine_that_refuses_the_settings_is_explained() throws Exception {
        Fixture.load();
        DemoApp.engines = (bundle, how) -> {
            throw new IllegalArgumentException("no such delegate here");
        };
        MainActivity activity = Robolectric.buildActivity(MainActivity.class).setup().get();
        Screen.await("explanation", () -> Screen.text(activity, R.id.hint).contains("no such delegate here"));
    }

    /** Imitates a broken delegate: the first values are swapped. */
    private static final class Altered implements org.distilltophone.core.Engine {
        private final org.distilltophone.core.Engine engine;

        Altered(org.distilltophone.core.Engine engine) {
            this.engine = engine;
        }

        @Override
        public void run(java.nio.ByteBuffer input, java.nio.ByteBuffer output) {
            engine.run(input, output);
            for (int i = 0; i < output.capacity() / 2; i++) {
                byte one = output.get(i);
                output.put(i, output.get(output.capacity() - 1 - i)).put(output.capacity() - 1 - i, one);
            }
        }

        @Override
        public void close() {
            engine.close();
        }
    }
}
