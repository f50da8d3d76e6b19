package org.distilltophone.app;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotEquals;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertSame;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.Activity;
import android.content.Intent;
import android.content.res.Configuration;
import android.graphics.Bitmap;
import android.net.Uri;
import android.os.Bundle;
import android.provider.MediaStore;
import android.view.View;
import android.widget.GridView;
import android.widget.ImageView;
import android.widget.RadioButton;
import java.io.OutputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.Robolectric;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.annotation.Config;
import org.robolectric.annotation.GraphicsMode;
import org.robolectric.shadows.ShadowActivity;
import org.robolectric.shadows.ShadowToast;

/** A user searches: chooses or takes a photo, looks at the results, rotates the phone. */
@RunWith(RobolectricTestRunner.class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(sdk = 35, qualifiers = "w360dp-h760dp-xhdpi")
public class MainActivityTest {
    private Fixture fixture;

    @Before
    public void model() throws Exception {
        fixture = Fixture.load();
    }

    private ActivityController<MainActivity> start() {
        return Robolectric.buildActivity(MainActivity.class).setup();
    }

    /** Touches "Choose a photo" and returns a photo as the chooser would. */
    private static void choose(MainActivity activity, Uri picture) {
        Screen.touch(activity, R.id.choose);
        ShadowActivity.IntentForResult asked = shadowOf(activity).getNextStartedActivityForResult();
        assertEquals(MediaStore.ACTION_PICK_IMAGES, asked.intent.getAction());
        shadowOf(activity).receiveResult(asked.intent, Activity.RESULT_OK, new Intent().setData(picture));
    }

    private static GridView results(Activity activity) {
        return activity.findViewById(R.id.results);
    }

    private static void awaitResults(MainActivity activity) throws Exception {
        Screen.await("results", () -> !Screen.shown(activity, R.id.busy) && results(activity).getCount() > 0
            && !Screen.text(activity, R.id.timing).isEmpty());
    }

    private static void awaitThumbnails(MainActivity activity) throws Exception {
        Screen.await("thumbnails", () -> {
            for (int i = 0; i < results(activity).getChildCount(); i++) {
                ImageView picture = results(activity).getChildAt(i).findViewById(R.id.picture);
                if (picture.getDrawable() == null) {
                    return false;
                }
            }
            return results(activity).getChildCount() > 0;
        });
    }

    private static List<String> ids(MainActivity activity) {
        List<String> ids = new ArrayList<>();
        for (int i = 0; i < results(activity).getCount(); i++) {
            ids.add(((Query.Hit) results(activity).getItemAtPosition(i)).id);
        }
        return ids;
    }

    /**
     * The kernels of another TFLite, on another processor, round int8 sums a little differently: neighbours that are nearly
     * equally near may change places, as they may between two phones.
     */
    private static void assertFound(Fixture.Expected expected, MainActivity activity) {
        List<String> ids = ids(activity);
        int shown = Settings.read(activity).results;
        assertEquals(shown, ids.size());
        assertEquals(expected.ids.get(0), ids.get(0));
        int common = 0;
        for (int i = 0; i < shown; i++) {
            assertEquals(expected.scores.get(i), ((Query.Hit) results(activity).getItemAtPosition(i)).score, 0.02);
            common += expected.ids.subList(0, shown).contains(ids.get(i)) ? 1 : 0;
        }
        assertTrue(common + " of " + shown, common >= 0.8 * shown);
    }

    @Test
    public void it_says_how_many_pictures_there_are() throws Exception {
        MainActivity activity = start().get();
        String count = String.valueOf(fixture.galleryCount());
        Screen.await("hint", () -> Screen.text(activity, R.id.hint).contains(count));
        Screen.shoot(activity, "start-light");
    }

    @Test
    public void a_chosen_photo_finds_what_python_finds() throws Exception {
        MainActivity activity = start().get();
        for (String picture : fixture.pictures()) {
            choose(activity, fixture.share(picture));
            Screen.await("search", () -> !Screen.shown(activity, R.id.busy));
            awaitResults(activity);
            assertFound(fixture.expected(picture), activity);
        }
        assertTrue(Screen.text(activity, R.id.headline).contains(String.valueOf(fixture.galleryCount())));
        assertTrue(Screen.text(activity, R.id.timing).matches("Decode [\\d.]+ ms · model [\\d.]+ ms · search [\\d.]+ ms"));
        assertFalse(Screen.shown(activity, R.id.hint));
        awaitThumbnails(activity);
        Screen.shoot(activity, "results-light");
    }

    @Test
    @Config(qualifiers = "+night")
    public void at_night_it_is_dark() throws Exception {
        MainActivity activity = start().get();
        choose(activity, fixture.share(fixture.pictures().get(0)));
        awaitResults(activity);
        awaitThumbnails(activity);
        Bitmap dark = Screen.shoot(activity, "results-dark");
        int corner = dark.getPixel(2, dark.getHeight() / 2);
        assertTrue(Integer.toHexString(corner), (corner & 255) < 64 && (corner >> 8 & 255) < 64 && (corner >> 16 & 255) < 64);
    }

    @Test
    @Config(qualifiers = "ar-ldrtl-w360dp-h760dp-xhdpi")
    public void from_right_to_left_it_works_too() throws Exception {
        MainActivity activity = start().get();
        choose(activity, fixture.share(fixture.pictures().get(0)));
        awaitResults(activity);
        assertFound(fixture.expected(fixture.pictures().get(0)), activity);
    }

    @Test
    public void a_photo_is_taken_by_the_camera_app() throws Exception {
        MainActivity activity = start().get();
        String picture = fixture.pictures().get(0);
        Screen.touch(activity, R.id.take);
        ShadowActivity.IntentForResult asked = shadowOf(activity).getNextStartedActivityForResult();
        assertEquals(MediaStore.ACTION_IMAGE_CAPTURE, asked.intent.getAction());
        assertTrue((asked.intent.getFlags() & Intent.FLAG_GRANT_WRITE_URI_PERMISSION) != 0);
        Uri target = asked.intent.getParcelableExtra(MediaStore.EXTRA_OUTPUT);
        assertEquals(target, asked.intent.getClipData().getItemAt(0).getUri());
        try (OutputStream camera = activity.getContentResolver().openOutputStream(target)) {
            camera.write(fixture.bytes(picture));
        }
        shadowOf(activity).receiveResult(asked.intent, Activity.RESULT_OK, null);
        awaitResults(activity);
        assertFound(fixture.expected(picture), activity);
    }

    @Test
    public void cancelling_the_chooser_changes_nothing() throws Exception {
        MainActivity activity = start().get();
        Screen.touch(activity, R.id.choose);
        Intent asked = shadowOf(activity).getNextStartedActivityForResult().intent;
        shadowOf(activity).receiveResult(asked, Activity.RESULT_CANCELED, null);
        assertFalse(Screen.shown(activity, R.id.query_card));
    }

    @Test
    public void without_a_camera_app_it_says_so() {
        shadowOf(RuntimeEnvironment.getApplication()).checkActivities(true);
        MainActivity activity = start().get();
        Screen.touch(activity, R.id.take);
        assertEquals(activity.getString(R.string.problem_no_camera), ShadowToast.getTextOfLatestToast());
    }

    @Test
    public void bad_files_are_explained_and_the_next_photo_works() throws Exception {
        MainActivity activity = start().get();
        byte[] good = fixture.bytes(fixture.pictures().get(0));
        byte[][] bad = {new byte[0], "no picture at all".getBytes(), Arrays.copyOf(good, good.length / 2), Arrays.copyOf(good, 30)};
        for (int i = 0; i < bad.length; i++) {
            choose(activity, Fixture.share("bad" + i, bad[i]));
            Screen.await("explanation " + i, () -> !Screen.shown(activity, R.id.busy) && Screen.shown(activity, R.id.hint));
            String start = activity.getString(R.string.problem_undecodable, "");
            assertTrue(Screen.text(activity, R.id.hint), Screen.text(activity, R.id.hint).startsWith(start));
            assertEquals(0, results(activity).getCount());
        }
        Screen.shoot(activity, "bad-picture-light");
        choose(activity, fixture.share(fixture.pictures().get(0)));
        awaitResults(activity);
        assertFound(fixture.expected(fixture.pictures().get(0)), activity);
    }

    @Test
    public void a_photo_that_is_gone_is_explained() throws Exception {
        MainActivity activity = start().get();
        for (Uri uri : Arrays.asList(Uri.parse("content://nobody/1"), Uri.parse("file:///data/secret.jpg"))) {
            choose(activity, uri);
            Screen.await("explanation", () -> !Screen.shown(activity, R.id.busy) && Screen.shown(activity, R.id.hint));
            String start = activity.getString(R.string.problem_unreadable, "").substring(0, 20);
            assertTrue(Screen.text(activity, R.id.hint), Screen.text(activity, R.id.hint).startsWith(start));
        }
    }

    @Test
    public void turning_the_phone_keeps_the_results_without_a_new_search() throws Exception {
        ActivityController<MainActivity> controller = start();
        choose(controller.get(), fixture.share(fixture.pictures().get(0)));
        awaitResults(controller.get());
        MainActivity before = controller.get();
        Object first = results(before).getItemAtPosition(0);
        RuntimeEnvironment.setQualifiers("+land");
        Configuration turned = RuntimeEnvironment.getApplication().getResources().getConfiguration();
        controller.configurationChange(turned);
        MainActivity after = controller.get();
        assertNotEquals(before, after);
        assertSame(first, results(after).getItemAtPosition(0));
        assertFalse(Screen.shown(after, R.id.busy));
        Screen.layOut(after, 760, 360);
        awaitThumbnails(after);
        Screen.shoot(after, "results-turned");
    }

    @Test
    public void turning_the_phone_during_a_search_does_not_lose_it() throws Exception {
        ActivityController<MainActivity> controller = start();
        choose(controller.get(), fixture.share(fixture.pictures().get(0)));
        controller.recreate();
        awaitResults(controller.get());
        assertFound(fixture.expected(fixture.pictures().get(0)), controller.get());
    }

    @Test
    public void after_the_process_was_ended_the_search_is_made_again() throws Exception {
        ActivityController<MainActivity> controller = start();
        choose(controller.get(), fixture.share(fixture.pictures().get(0)));
        awaitResults(controller.get());
        Bundle kept = new Bundle();
        controller.saveInstanceState(kept).pause().stop().destroy();
        MainActivity again = Robolectric.buildActivity(MainActivity.class).setup(kept).get();
        awaitResults(again);
        assertFound(fixture.expected(fixture.pictures().get(0)), again);
    }

    @Test
    public void other_settings_make_a_new_search() throws Exception {
        ActivityController<MainActivity> controller = start();
        choose(controller.get(), fixture.share(fixture.pictures().get(0)));
        awaitResults(controller.get());
        controller.pause().stop();
        Settings.preferences(controller.get()).edit().putInt("results", 7).putInt("threads", 1).apply();
        controller.restart().start().resume();
        Screen.await("fewer results", () -> results(controller.get()).getCount() == 7);
        assertFound(fixture.expected(fixture.pictures().get(0)), controller.get());
    }

    @Test
    public void a_result_opens_with_its_name_and_similarity() throws Exception {
        MainActivity activity = start().get();
        choose(activity, fixture.share(fixture.pictures().get(0)));
        awaitResults(activity);
        results(activity).performItemClick(results(activity).getChildAt(0), 0, 0);
        android.app.AlertDialog dialog = (android.app.AlertDialog) org.robolectric.shadows.ShadowDialog.getLatestDialog();
        Query.Hit first = (Query.Hit) results(activity).getItemAtPosition(0);
        android.widget.TextView text = dialog.findViewById(R.id.text);
        assertTrue(text.getText().toString().contains(first.id));
        assertEquals(View.GONE, dialog.getButton(android.app.AlertDialog.BUTTON_POSITIVE).getVisibility());
    }

    @Test
    public void the_menu_leads_to_the_other_pages() {
        MainActivity activity = start().get();
        int[] items = {R.id.menu_photos, R.id.menu_settings, R.id.menu_about};
        Class<?>[] pages = {PhotosActivity.class, SettingsActivity.class, AboutActivity.class};
        for (int i = 0; i < items.length; i++) {
            assertTrue(shadowOf(activity).clickMenuItem(items[i]));
            assertEquals(pages[i].getName(), shadowOf(activity).getNextStartedActivity().getComponent().getClassName());
        }
    }

    @Test
    public void everything_that_can_be_touched_can_be_heard() throws Exception {
        MainActivity activity = start().get();
        choose(activity, fixture.share(fixture.pictures().get(0)));
        awaitResults(activity);
        GridView results = results(activity);
        assertTrue(results.getChildCount() > 0);
        for (int i = 0; i < results.getChildCount(); i++) {
            Query.Hit hit = (Query.Hit) results.getItemAtPosition(i);
            assertEquals("Result " + (i + 1) + ": " + HitAdapter.name(hit) + ", similarity " + HitAdapter.similarity(hit),
                results.getChildAt(i).getContentDescription());
        }
        Screen.each(activity.findViewById(R.id.query_card), view -> {
            if (view instanceof ImageView) {
                assertNotNull(view.getContentDescription());
            }
        });
        float touchable = 48 * activity.getResources().getDisplayMetrics().density;
        Screen.each(activity.findViewById(android.R.id.content), view -> {
            if (view.isShown() && (view instanceof android.widget.Button)) {
                assertTrue(((android.widget.Button) view).getText() + " is too small", view.getHeight() >= touchable);
                assertTrue(view instanceof RadioButton || view.isClickable());
            }
        });
    }
}
